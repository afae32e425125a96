
_bpfman_words() {
    COMPREPLY=($(compgen -W "$(bpfman __complete "$1" 2>/dev/null | cut -f1)" -- "$2"))
}

_bpfman_dynamic() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    case "${COMP_WORDS[1]}:${prev}" in
        load:--iface) _bpfman_words interfaces "$cur"; return ;;
        load:-i)
            # Before the program type of 'load image' it is the name of an image.
            if [[ " ${COMP_WORDS[*]:0:COMP_CWORD} " =~ \ (xdp|tc|tcx)\  ]]; then
                _bpfman_words interfaces "$cur"
                return
            fi
            ;;
        load:--map-owner-id) _bpfman_words programs "$cur"; return ;;
        unload:* | get:get)
            if [[ "$cur" != -* && "$prev" != -o && "$prev" != --output ]]; then
                _bpfman_words programs "$cur"
                return
            fi
            ;;
    esac
    _bpfman "$@"
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _bpfman_dynamic -o nosort -o bashdefault -o default bpfman
else
    complete -F _bpfman_dynamic -o bashdefault -o default bpfman
fi
