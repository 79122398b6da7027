# SPDX-License-Identifier: Apache-2.0
input=$(cat)
feed() { [ -z "$input" ] || printf '%s\n' "$input"; }

feed | before "$@" || exit

# A push of git hmopt itself has nothing to offer.
[ -n "$tool" ] && [ -n "$input" ] && [ -z "${HMOPT_PUSHING-}" ] || exit 0
setting HMOPT_HOOKS_PRE_PUSH hmopt.hooks.prePush say
[ "$said" != off ] || exit 0
[ -n "$(git for-each-ref --count=1 refs/notes/hmopt refs/hmopt/runs 2>/dev/null)" ] || exit 0
export HMOPT_HOOK_PARENT="$PPID"
case $said in
# A person is asked, or a push takes what it takes.
ask | push) feed | "$tool" hooks run "$hook" -- "$@" >&2 ;;
*) feed | limited "$tool" hooks run "$hook" -- "$@" >&2 ;;
esac
exit 0
