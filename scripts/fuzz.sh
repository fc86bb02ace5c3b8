#!/usr/bin/env bash
# fuzz.sh TIME runs each fuzz target of the repository for TIME, one after another.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: fuzz.sh 10s}

for module in $(scripts/modules.sh); do
	# go test -list prints the targets of a package and then a line "ok package".
	go test -C "$module" -run '^$' -list '^Fuzz' ./... | awk '/^Fuzz/ { names[++n] = $1 }
		/^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' |
		while read -r package target; do
			echo "fuzz: $package $target"
			go test -C "$module" -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
		done
done
