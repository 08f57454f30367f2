#!/bin/sh
set -e

# Not before an upgrade: the old version runs until the new one is in place.
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now persat-bridge
elif command -v systemctl >/dev/null; then
	systemctl --no-reload --quiet disable persat-bridge
fi
