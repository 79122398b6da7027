#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# layout.sh SEED OUT LINKER... -- OBJECT...
#
# Link the objects in an order, and at addresses modulo 256, that follow from
# the seed and each object's name alone: what a patch does not touch keeps its
# alignment, and two builds can be compared seed by seed.
set -e

case $1 in
'' | *[!0-9]*) echo "layout.sh: '$1' is no seed, expected a number" >&2; exit 2 ;;
esac
[ -n "$2" ] || { echo 'layout.sh: no output is named' >&2; exit 2; }
seed=$1 out=$2
shift 2
link=
while [ "$1" != -- ]; do
	link="$link $1"
	shift
done
shift

pads=$out.pads
mkdir -p "$pads"
for object; do
	hash=$(printf '%s %s' "$seed" "${object#*/obj/}" | cksum)
	echo "${hash%% *} $object"
done | sort -n > "$pads/order"

set --
while read -r hash object; do
	skip=$((hash % 16 * 16))
	pad=$pads/$skip.o
	if [ ! -e "$pad" ]; then
		# An assembler warns of an empty skip, so all are a word longer.
		printf '%s\n' .text '.balign 256' ".skip $((skip + 8))" \
			'.section .note.GNU-stack,"",%progbits' > "$pads/$skip.s"
		$link -nostdlib -c -o "$pad" "$pads/$skip.s"
	fi
	set -- "$@" "$pad" "$object"
done < "$pads/order"
$link -o "$out" "$@"
rm -r "$pads"
