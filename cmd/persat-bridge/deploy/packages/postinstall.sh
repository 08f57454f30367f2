#!/bin/sh
set -e

# dpkg says "configure", rpm the number of installed versions. What else dpkg says is the
# way back from a failure, on which nothing is to be done.
case "$1" in
configure | 1 | 2) ;;
*) exit 0 ;;
esac

# A purge that kept the data gave it to root: the user has another number now, perhaps.
data=/var/lib/persat-bridge
if [ -d $data ] && [ "$(stat -c %U:%G $data)" != persat-bridge:persat-bridge ]; then
	chown -Rh persat-bridge:persat-bridge $data
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# An upgrade restarts the running service. A stopped one stays stopped.
	systemctl try-restart persat-bridge
fi

# The package never starts the service for the first time: it has no secret then.
if ! systemctl --quiet is-enabled persat-bridge 2>/dev/null; then
	if [ ! -s /etc/persat-bridge/webhook ]; then
		echo "persat-bridge is not started: it has no signing secret. Put it (whsec_…, from Persat's portal) into its file:"
		echo "  install -m 0640 -g persat-bridge /dev/stdin /etc/persat-bridge/webhook    # paste it, then Enter and Ctrl-D"
	fi
	echo "Then start persat-bridge:  systemctl enable --now persat-bridge"
fi
