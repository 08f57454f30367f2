#!/bin/sh
set -e

case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
	fi
	;;
purge) # of dpkg; rpm leaves changed configuration, user and data where they are
	rm -rf /etc/persat-bridge
	data=/var/lib/persat-bridge
	if [ "$PERSAT_BRIDGE_PURGE_DATA" = 1 ]; then
		rm -rf $data
	elif [ -d $data ]; then
		# The next user of the system may get the number that this one had.
		chown -Rh root:root $data
		echo "persat-bridge: journal and stream are kept in $data, which root owns now. A new installation takes them over."
		echo "To delete them:  rm -r $data"
	fi
	if getent passwd persat-bridge >/dev/null; then
		userdel persat-bridge
	fi
	if getent group persat-bridge >/dev/null; then
		groupdel persat-bridge
	fi
	;;
esac
