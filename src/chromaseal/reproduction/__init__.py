"""The incident, on this machine: the old ways of copying and publishing beside this one."""
