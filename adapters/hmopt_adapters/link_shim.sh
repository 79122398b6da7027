#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# First in PATH as `sh` while kbuild runs: leaves the environment of the kernel's link for later relinks.
# kbuild calls small scripts as `sh scripts/x`; only link-vmlinux.sh calls mksysmap.
case "${1-}" in
*/scripts/mksysmap)
	if [ -n "${HMOPT_LINK_ENVIRONMENT-}" ]; then
		env -0 >"$HMOPT_LINK_ENVIRONMENT.new" && mv "$HMOPT_LINK_ENVIRONMENT.new" "$HMOPT_LINK_ENVIRONMENT"
	fi
	;;
esac
exec /bin/sh "$@"
