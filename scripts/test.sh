#!/usr/bin/env bash
# test.sh runs every test of the repository with the race detector: first the root
# module, whose tests need nothing, then each nested module with the real Consul.
# It goes on after a failed stage and says at the end how each went.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t modules < <(scripts/modules.sh)
nested=("${modules[@]:1}")

echo "test: plan:"
echo "test:   1. unit tests of the root module, -race"
echo "test:   2. locate or build Consul (CONSUL_BIN overrides; a cold build takes minutes), iproute2 and Chromium"
echo "test:   3. tests of the root module that need Consul, -race"
n=4
for module in "${nested[@]}"; do
	echo "test:   $n. tests of ${module#./}, -race, with Consul"
	n=$((n + 1))
done

summary=()
failed=0
# stage NAME COMMAND… runs the command and notes its result and time.
stage() {
	local name=$1 start=$SECONDS result=ok
	shift
	echo
	echo "test: --- $name"
	"$@" || { result=FAILED; failed=1; }
	summary+=("$(printf '%-6s %5ds  %s' "$result" $((SECONDS - start)) "$name")")
}

locate_consul() {
	CONSUL_BIN=$(scripts/tool.sh consul) || return
	export CONSUL_BIN
	echo "$CONSUL_BIN"
}

# With Consul required, a test that needs it fails instead of skipping itself.
stage "root module" env -u CONSUL_BIN go test -race -timeout 20m ./...
# The race detector allocates too, so promises about allocations are held without it.
stage "allocations" go test -count=1 -run Alloc ./...
stage "Consul" locate_consul
stage "iproute2" scripts/iproute.sh
stage "Chromium" scripts/chromium.sh
export SURECALL_REQUIRE_CONSUL=1 SURECALL_REQUIRE_CHROMIUM=1
stage "root module with Consul" go test -race -timeout 20m ./discovery/... ./internal/...
stage "README and examples with Consul" go test -race -p 1 -timeout 20m -run 'README|OnConsul' . ./examples/...
for module in "${nested[@]}"; do
	# One package at a time: they start processes and hold timing bars.
	stage "${module#./}" go test -C "$module" -race -p 1 -timeout 30m ./...
done

echo
echo "test: summary:"
printf 'test:   %s\n' "${summary[@]}"
exit "$failed"
