# SPDX-License-Identifier: Apache-2.0
[ -x "$tool" ] || tool=$(command -v git-hmopt) || tool=
kept=${0%/*}/$hook.hmopt-kept

# What was here before, with the same arguments and the same input.
before() {
	if [ -f "$kept" ] && [ -x "$kept" ]; then "$kept" "$@"; fi
}

# setting VARIABLE KEY DEFAULT [TYPE]: the variable, then git's configuration, then the default, in $said.
setting() {
	eval "said=\${$1-}"
	[ -n "$said" ] || said=$(git config ${4:+--type=$4} --get "$2" 2>/dev/null) || said=$3
}

# Cuts what hangs; a system without timeout(1) has no such limit.
limited() {
	setting HMOPT_HOOKS_SECONDS hmopt.hooks.seconds 20 int
	if command -v timeout >/dev/null 2>&1; then timeout -k 2 "$said" "$@"; else "$@"; fi
}
