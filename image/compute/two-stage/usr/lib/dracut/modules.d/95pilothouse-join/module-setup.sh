#!/bin/bash
check() { return 255; } # Where it is asked for, by --add or add_dracutmodules.
depends() { echo systemd; }
install() {
    inst_multiple mkdir mv
    inst_simple "$moddir/pilothouse-join-keep.service" /usr/lib/systemd/system/pilothouse-join-keep.service
    mkdir -p "$initdir/usr/lib/systemd/system/initrd.target.wants"
    ln -sf ../pilothouse-join-keep.service "$initdir/usr/lib/systemd/system/initrd.target.wants/"
}
