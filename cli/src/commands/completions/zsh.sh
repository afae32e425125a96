
_bpfman_words() {
    local -a found
    found=(${(f)"$(bpfman __complete $1 2>/dev/null)"})
    # A tab stands between a word and what it is.
    found=(${found//:/\\:})
    found=(${found//$'\t'/:})
    _describe -t $1 $1 found
}

# What clap made keeps its work under another name: zsh knows this file by the first one.
functions[_bpfman_static]=$functions[_bpfman]

_bpfman() {
    local prev=${words[CURRENT-1]} before=" ${(j: :)words[1,CURRENT-1]} "
    case "${words[2]}:${prev}" in
        load:--iface) _bpfman_words interfaces; return ;;
        load:-i)
            # Before the program type of 'load image' it is the name of an image.
            if [[ $before == *' xdp '* || $before == *' tc '* || $before == *' tcx '* ]]; then
                _bpfman_words interfaces
                return
            fi
            ;;
        load:--map-owner-id) _bpfman_words programs; return ;;
        unload:* | get:get)
            if [[ ${words[CURRENT]} != -* && $prev != -o && $prev != --output ]]; then
                _bpfman_words programs
                return
            fi
            ;;
    esac
    _bpfman_static "$@"
}

if [ "$funcstack[1]" = "_bpfman" ]; then
    _bpfman "$@"
else
    compdef _bpfman bpfman
fi
