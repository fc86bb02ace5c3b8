#!/usr/bin/env bash
# iproute.sh makes sure that there is the command ip, which tests of e2e make network
# namespaces with. It installs it where it can: as root, on a system with apt.
set -euo pipefail
command -v ip && exit
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
	echo "iproute.sh: no command ip, and not root on a system with apt: install iproute2" >&2
	exit 1
fi
apt-get -o Acquire::Retries=3 update -q >&2
apt-get -o Acquire::Retries=3 install -y -q --no-install-recommends iproute2 >&2
command -v ip
