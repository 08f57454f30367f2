#!/bin/sh
# Runs before the files are unpacked, which belong to this user. useradd is in passwd on
# Debian and in shadow-utils on RHEL; sysusers.d would need systemd, which a container or a
# chroot does not have.
set -e

# "install" and "upgrade" are dpkg's words; rpm gives the number of installed versions.
case "$1" in
install | upgrade | 1 | 2)
	getent group persat-bridge >/dev/null || groupadd --system persat-bridge
	getent passwd persat-bridge >/dev/null || useradd --system --gid persat-bridge --no-create-home \
		--home-dir /var/lib/persat-bridge --shell /usr/sbin/nologin persat-bridge
	;;
esac
