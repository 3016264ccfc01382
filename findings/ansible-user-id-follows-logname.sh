#!/usr/bin/env bash
# ansible-core 2.19.4: the facts user_id and user_uid are those of LOGNAME, not of who one is.
#
# Expected: user_uid equals effective_user_id, which the same module gathers at the same time.
# Seen: with LOGNAME=daemon (sudo, su or a tool that hands its environment on may leave another user's name there) user_id
# is "daemon" and user_uid is daemon's; effective_user_id alone is true. A play with
# `become: "{{ ansible_facts.user_id != 'root' }}"` then does the wrong thing, in either direction.
# The module asks Python's getpass.getuser(), which believes LOGNAME, USER, LNAME and USERNAME.
#
# Needs python3 with venv, PyPI, and a user called daemon, as every Debian has.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet install ansible-core==2.19.4 2>/dev/null

facts() { # LOGNAME
    LC_ALL=C.UTF-8 ANSIBLE_HOME=$work/ansible ANSIBLE_LOAD_CALLBACK_PLUGINS=1 \
        ANSIBLE_STDOUT_CALLBACK=ansible.builtin.minimal LOGNAME=$1 \
        "$work/venv/bin/ansible" localhost -i localhost, -c local -e ansible_python_interpreter="$work/venv/bin/python" \
        -m ansible.builtin.setup -a 'gather_subset=!all,!min,user' 2>/dev/null |
        sed -nE 's/.*"ansible_((effective_)?user_u?id)": "?([^",]*)"?,?$/\1=\3/p' | paste -sd ' '
}

seen=$(facts daemon)
printf 'who one is:               %s, uid %s\n' "$(id -un)" "$(id -u)"
printf 'facts, LOGNAME is right:  %s\n' "$(facts "$(id -un)")"
printf 'facts, LOGNAME is daemon: %s\n' "$seen"
[[ $seen == "effective_user_id=$(id -u) user_id=daemon user_uid=$(id -u daemon)" ]]
