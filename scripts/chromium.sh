#!/usr/bin/env bash
# chromium.sh makes sure that there is Chromium, which the tests of the status page open it
# in, and prints its path. It installs Debian's package where it can: as root, on a system
# with apt. CHROMIUM_BIN overrides.
set -euo pipefail
if [[ -n ${CHROMIUM_BIN:-} ]]; then
	[[ -x $CHROMIUM_BIN ]] || { echo "chromium.sh: CHROMIUM_BIN $CHROMIUM_BIN: not an executable" >&2; exit 1; }
	echo "$CHROMIUM_BIN"
	exit
fi
command -v chromium && exit
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
	echo "chromium.sh: no command chromium, and not root on a system with apt: install chromium, or set CHROMIUM_BIN" >&2
	exit 1
fi
install() {
	local options=(-q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120)
	apt-get "${options[@]}" update &&
		# Without a font a page has no text.
		DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y --no-install-recommends chromium fonts-inter fonts-dejavu-core
}
# A mirror that is just being updated has another list than files.
for pause in 5 20 0; do
	install >&2 && break
	echo "chromium.sh: apt-get failed" >&2
	sleep "$pause"
done
command -v chromium
