#!/usr/bin/env bash
# modules.sh prints the folder of each module that has code of ours, root first. The
# modules of tools/ only pin the versions of tools and are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
echo .
find . -mindepth 2 -name go.mod -not -path './tools/*' -not -path '*/testdata/*' -printf '%h\n' | sort
