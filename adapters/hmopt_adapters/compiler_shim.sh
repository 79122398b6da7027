#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# First in PATH under every compiler's name while make runs: leaves what was asked of the compiler, and what it said,
# in $HMOPT_COMMANDS. The compiler itself gets its own name, arguments and search path, as if this were not here.
name=${0##*/}
here=${0%/*}
case $PATH in
"$here:"*) PATH=${PATH#"$here:"} ;;
esac
[ -n "${HMOPT_COMMANDS-}" ] || exec "$name" "$@"
record=$HMOPT_COMMANDS/$$
# A long build uses process numbers twice.
while [ -e "$record.said" ]; do record=${record}0; done
"$name" "$@" 2>"$record.said"
status=$?
[ ! -s "$record.said" ] || cat "$record.said" >&2
if [ "$status" = 0 ]; then
	case " $* " in
	*" -c "*) ;;
	*) env -0 >"$record.environment" ;;
	esac
	printf '%s\0' "$PWD" "$name" "$@" >"$record.call"
fi
exit "$status"
