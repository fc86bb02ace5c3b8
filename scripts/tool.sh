#!/usr/bin/env bash
# tool.sh NAME builds one of the repository's tools, unless it is built already, and
# prints the path of the executable. NAME is a folder of tools/: consul, lint.
#
# The executables are kept outside the tree, one for each version of tool and of Go.
# A lock lets several calls wait for one build. CONSUL_BIN overrides consul.
set -euo pipefail

name=${1:?usage: tool.sh consul|lint}
module=$(cd "$(dirname "$0")/../tools/$name" && pwd)

if [[ $name == consul && -n ${CONSUL_BIN:-} ]]; then
	[[ -x $CONSUL_BIN ]] || { echo "tool.sh: CONSUL_BIN $CONSUL_BIN: not an executable" >&2; exit 1; }
	echo "$CONSUL_BIN"
	exit
fi

# HOME may be unset on a bare machine; the cache is then one of the user's in the
# temporary folder.
cache=${XDG_CACHE_HOME:-${HOME:-${TMPDIR:-/tmp}/surecall-$(id -u)}/.cache}/surecall
mkdir -p "$cache"

cd "$module"
read -r package < <(sed -n 's/^tool //p' go.mod)
# The module of the package is the longest require line that is a prefix of it.
version=$(awk -v p="$package" '
	{ sub(/^require /, ""); if (index(p "/", $1 "/") == 1 && length($1) > n) { n = length($1); v = $2 } }
	END { print v }' go.mod)
binary=$cache/$name-$version-$(go env GOVERSION)-$(go env GOOS)-$(go env GOARCH)

if [[ ! -x $binary ]]; then
	# mkdir is the one lock that every system has. The holder's id inside it tells a
	# build at work from one that was killed. Should two get through, the last wins.
	lock=$binary.lock
	until mkdir "$lock" 2>/dev/null; do
		holder=$(cat "$lock/pid" 2>/dev/null || true)
		if [[ -n $holder ]] && ! kill -0 "$holder" 2>/dev/null; then
			rm -rf "$lock"
			continue
		fi
		sleep 1
	done
	echo $$ >"$lock/pid"
	trap 'rm -rf "$lock"' EXIT
	if [[ ! -x $binary ]]; then
		echo "tool.sh: building $package $version; cold this takes minutes" >&2
		go build -buildvcs=false -ldflags='-s -w' -o "$binary.$$" "$package" >&2
		mv "$binary.$$" "$binary"
	fi
fi
echo "$binary"
