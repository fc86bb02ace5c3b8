#!/usr/bin/env bash
# lint.sh checks what can be checked without running the code. It goes on after a
# finding, so that one run shows them all.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
# check NAME COMMAND… runs the command; a failure is noted, not final.
check() {
	local name=$1 start=$SECONDS
	shift
	if "$@"; then
		echo "lint: ok     $name ($((SECONDS - start))s)"
	else
		echo "lint: FAILED $name"
		failed=1
	fi
}

# none COMMAND… fails, and shows what it printed, if the command prints anything.
none() {
	local found
	found=$("$@") || true
	[[ -z $found ]] || { echo "$found"; return 1; }
}

# files PATTERN lists the files of ours: not generated, not deleted, also when not
# committed yet.
files() {
	git ls-files --cached --others --exclude-standard -- "$@" | grep -v '\.pb\.go$' |
		while read -r f; do if [[ -e $f ]]; then echo "$f"; fi; done
}

unformatted() { files '*.go' | xargs -r gofmt -l; }
# Inside a bubble time.Sleep only advances virtual time, so a file that has bubbles may.
sleeping_tests() { files '*_test.go' | grep -v '^e2e/' | xargs -r grep -l 'time\.Sleep(' | xargs -r grep -LE 'testing/synctest|bubble\(t,'; }
inits() { files '*.go' | grep -v '_test\.go$\|^balancer/register\.go$' | xargs -r grep -nE '^func init\(' /dev/null; }
# Programs and test support may end themselves; what users link may not.
panics() {
	files '*.go' | grep -vE '_test\.go$|^(examples|cmd|e2e|bench|internal/consultest)/' |
		xargs -r grep -nE '(^|[^.[:alnum:]_"])panic\(' /dev/null | grep -vE ':[[:space:]]*//'
}
prints() {
	files '*.go' | grep -vE '_test\.go$|^(examples|cmd|e2e|bench|internal/consultest)/|/(examples|cmd)/' |
		xargs -r grep -nE '(fmt\.Print|[^[:alnum:]_.]log\.[A-Z])' /dev/null | grep -vE ':[[:space:]]*//'
}

golangci=$(scripts/tool.sh lint)
check "gofmt" none unformatted
check "no time.Sleep in a test outside e2e/ and synctest bubbles" none sleeping_tests
check "no init() outside balancer/register.go" none inits
check "no panic in library code" none panics
check "no print and no log in library code" none prints

for module in $(scripts/modules.sh); do
	name=${module#./}
	[[ $name == . ]] && name=root
	check "$name: go mod tidy" go -C "$module" mod tidy -diff
	check "$name: go vet" go -C "$module" vet ./...
	check "$name: golangci-lint" env -C "$module" "$golangci" run --config "$PWD/.golangci.yml" ./...
done
# tools/consul and tools/lint are not tidied: it would download the test dependencies
# of all that Consul and the linter import, which is gigabytes, to check two lines.
exit "$failed"
