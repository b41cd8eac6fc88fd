#!/bin/sh
# What ipmi_sim runs to look at the chassis and to change it; the harness knows and does it.
answer=$(printf '%s\n' "$*" | socat -t 30 - "UNIX-CONNECT:@SOCKET@") || exit 1
case $answer in
    refused*) echo "$answer" && exit 1 ;;
    ?*) printf '%s\n' "$answer" ;;
esac
