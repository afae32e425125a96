
complete -c bpfman -n "__fish_seen_subcommand_from unload get" -f -a "(bpfman __complete programs 2>/dev/null)"
complete -c bpfman -n "__fish_seen_subcommand_from load" -l map-owner-id -x -a "(bpfman __complete programs 2>/dev/null)"
complete -c bpfman -n "__fish_seen_subcommand_from load; and __fish_seen_subcommand_from xdp tc tcx" -s i -l iface -x -a "(bpfman __complete interfaces 2>/dev/null)"
