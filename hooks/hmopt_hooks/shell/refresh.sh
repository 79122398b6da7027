# SPDX-License-Identifier: Apache-2.0
# Whether files changed so that the graph has another answer.
moved() {
	setting HMOPT_HOOKS_GRAPH hmopt.hooks.graph branch
	[ "$said" != off ] || return 1
	[ "$hook" = post-checkout ] || return 0
	if [ "$3" = 1 ]; then [ "$1" != "$2" ]; else [ "$said" = always ]; fi
}

# In the background, and only where somebody asked for a graph before.
refresh() {
	home=$(git rev-parse --git-common-dir 2>/dev/null)/hmopt || return
	for graph in "$home"/structure/*.sqlite; do
		[ -f "$graph" ] || return
		break
	done
	# One that is starting finds these files, too; one that never came so far is forgotten after a minute.
	starting=$home/structure/starting-${PWD##*/}
	if ! mkdir "$starting" 2>/dev/null; then
		[ -n "$(find "$starting" -prune -mmin +1 2>/dev/null)" ] || return
		touch "$starting"
	fi
	(nice -n 19 "$tool" hooks run "$hook" </dev/null >>"$home/hooks.log" 2>&1 &) 2>/dev/null
}

before "$@"
code=$?
if [ -n "$tool" ] && moved "$@"; then refresh; fi
exit "$code"
