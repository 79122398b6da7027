# SPDX-License-Identifier: Apache-2.0
case $hook in
update) input="$2 $3 $1" ;;
*) input=$(cat) ;;
esac
feed() { [ -z "$input" ] || printf '%s\n' "$input"; }

if [ "$hook" = update ]; then before "$@" || exit; else feed | before "$@" || exit; fi

# Some rule is about what is pushed. No ref has a blank, and a pattern is not to be taken for files.
protected() {
	rules=$(git config --get-regexp '^hmopt\.rule\..*\.branch$') || return 1
	patterns=$(printf '%s\n' "$rules" | sed 's/^.*\.branch //' | tr ',' ' ')
	set -f
	# A ref that stands for another one: what it is called says nothing.
	[ -z "$(git for-each-ref '--format=%(symref)' refs/heads | tr -d '\n')" ] || return 0
	feed | {
		while read -r old new ref; do
			for pattern in $patterns; do
				case $pattern in refs/*) ;; *) pattern=refs/heads/$pattern ;; esac
				# shellcheck disable=SC2254 # it is a pattern
				case $ref in $pattern) exit 0 ;; esac
			done
		done
		exit 1
	}
}

protected || exit 0
# A word, not an exit code: a Python that cannot start answers 1 as well.
answer=
[ -z "$tool" ] || answer=$(feed | limited "$tool" hooks run "$hook")
case $answer in
allow) exit 0 ;;
refuse) exit 1 ;;
esac
why="the rule of a protected branch could not be checked (git-hmopt is missing or broken, or took too long)"
setting HMOPT_HOOKS_BROKEN hmopt.hooks.broken refuse
if [ "$said" = allow ]; then
	echo "git hmopt: warning: $why; let through, since hmopt.hooks.broken is 'allow'" >&2
	exit 0
fi
echo "git hmopt: refused: $why; ask who keeps this server: git hmopt hooks status" >&2
exit 1
