#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# profile.sh BENCH UNSTRIPPED OUTDIR ARGUMENTS...
#
# Run bench with its own sampler; leave folded stacks (folded.txt) and where
# each function is defined (symbols.txt) in OUTDIR.
set -e
bench=$1 unstripped=$2 out=$3
shift 3

"$bench" "$@" --profile "$out/stacks" > "$out/output"

# Addresses outside the program's own text lead to a library.
bounds=$(size -A -d "$unstripped" |
	awk '$1 == ".text" { printf "%016x %016x", $3, $2 + $3 }')
nm --defined-only "$unstripped" | awk -v bounds="$bounds" '
	BEGIN { split(bounds, text, " ") }
	$2 ~ /^[tT]$/ && $1 >= text[1] "" && $1 < text[2] "" { print $1, 0, $3 }
	END { print text[2], 0, "[library]" }' > "$out/text"
tr ';' '\n' < "$out/stacks" | sort -u | sed 's/$/ 1/' |
	sort - "$out/text" | awk '
	$2 == 0 { name = $3 }
	$2 == 1 { print $1, name == "" ? "[library]" : name }' > "$out/names"
awk '
	NR == FNR { name[$1] = $2; next }
	{
		n = split($0, frame, ";")
		stack = name[frame[1]]
		for (i = 2; i <= n; i++)
			stack = stack ";" name[frame[i]]
		count[stack]++
	}
	END { for (stack in count) print stack, count[stack] }
' "$out/names" "$out/stacks" | sort > "$out/folded.txt"

{
	echo 'hmopt-symbols 1'
	nm -l --defined-only "$unstripped" | awk -F '[ \t]' -v OFS='\t' '
		$2 ~ /^[tT]$/ && $4 != "" {
			line = $4
			sub(/.*:/, "", line)
			file = substr($4, 1, length($4) - length(line) - 1)
			sub(/^[.]\//, "", file)
			print $3, file, line
		}'
} > "$out/symbols.txt"
