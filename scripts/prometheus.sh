#!/usr/bin/env bash
# prometheus.sh makes sure that there are Prometheus and its promtool, which the tests of
# the dashboards run, and prints the path of the first. It installs Debian's package where
# it can: as root, on a system with apt. PROMETHEUS_BIN overrides; promtool stands beside it
# or in the PATH.
set -euo pipefail
if [[ -n ${PROMETHEUS_BIN:-} ]]; then
	[[ -x $PROMETHEUS_BIN ]] || { echo "prometheus.sh: PROMETHEUS_BIN $PROMETHEUS_BIN: not an executable" >&2; exit 1; }
	echo "$PROMETHEUS_BIN"
	exit
fi
command -v prometheus && exit
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
	echo "prometheus.sh: no command prometheus, and not root on a system with apt: install prometheus, or set PROMETHEUS_BIN" >&2
	exit 1
fi
apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 update -q >&2
# The package starts a service of its own, which nobody asked for here.
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 install -y -q --no-install-recommends prometheus >&2
command -v prometheus
