#!/bin/sh
# Sends a file in chunks, and resumes it after the network or the server has failed.
#
#     curl.sh FILE [URL [UPLOAD_ID]]
#
# With the id of an unfinished upload, it resumes that one. If the application may take long for a
# file, this needs curl 7.84.
set -eu

file=$1
url=${2:-http://127.0.0.1:3000/api/chunked_upload}
id=${3:-}
chunk=${CHUNK_BYTES:-8000000}

# The URL of the completion has the same query, and no slash at the end of the path.
path=${url%%\?*}
query=${url#"$path"}
complete_url=${path%/}_complete$query

# Reports what the server said, and to which call.
fail() {
    detail=$(value detail)
    echo "${detail:-$1} ($call: $how${id:+, upload $id})" >&2
    exit 1
}

# Prints a string or a number from the response, which is flat JSON.
value() {
    printf %s "$answer" | sed -nE 's/.*"'"$1"'":("(([^"\\]|\\.)*)"|([0-9]+)).*/\2\4/p'
}

# Repeats a request, with longer and longer pauses, until repeating it would not help.
persist() {
    for pause in 1 2 4 8 16 32 0; do
        if answer=$("$@"); then
            status=${answer##*[!0-9]}
            how="status $status"
        else
            how="curl ended with $?"
            status=000 answer=000
        fi
        case $status:$answer in
            # Also one that tells of an application that takes long.
            2??:*) return ;;
            # Somebody else has continued the upload, or nobody works on it any more.
            409:*'"superseded"'* | 409:*'"not-completing"'*) return ;;
            000:* | 408:* | 409:* | 429:* | 5??:* | *'"finishing"'*) sleep "$pause" ;;
            *) return ;;
        esac
    done
    fail 'The server does not answer'
}

request() {
    curl -sS -w '\n%header{location}\n%{http_code}' "$@"
}

send_chunk() {
    tail -c "+$((offset + 1))" "$file" | head -c "$((end - offset))" |
        request ${range:+-H "$range"} ${id:+--form-string "upload_id=$id"} \
            -F "file=@-;filename=\"$name\"" "$url"
}

# Some systems put spaces before the number.
size=$(($(wc -c <"$file")))
# Quoted for curl.
name=$(printf %s "${file##*/}" | sed 's/[\\"]/\\&/g')

offset=0
while [ -z "$id" ] || [ "$offset" -lt "$size" ]; do
    end=$((size - offset > chunk ? offset + chunk : size))
    range="Content-Range: bytes $offset-$((end - 1))/$size"
    # There is no range for an empty file.
    [ "$size" -gt 0 ] || range=
    call="chunk $offset-$end to $url"
    persist send_chunk
    offset=$(value offset)
    # A refusal with an offset is not a failure: the next chunk begins there.
    [ -n "$offset" ] || fail 'The server did not take the chunk'
    [ -n "$id" ] || id=$(value upload_id)
    echo "$offset of $size bytes" >&2
done

md5=$(openssl md5 -r <"$file" | cut -c -32)
[ -n "$md5" ] || fail 'The MD5 could not be computed'
call="completion at $complete_url"
origin=$(printf %s "$url" | sed -E 's|^([^/]*//[^/]*).*|\1|')
complete() {
    persist request -d "upload_id=$id" -d "md5=$md5" "$complete_url"
}
complete
tries_left=3
while :; do
    case $status:$(value status):$(value code) in
        # The application takes long, and its answer will be there.
        202:finishing:*)
            address=$(printf '%s\n' "$answer" | tail -n 2 | head -n 1)
            case $address in
                "$origin"/*) ;;
                /*) address=$origin$address ;;
                *) fail 'The server still works on the file; curl 7.84 or later waits for it' ;;
            esac
            sleep 2
            persist request "$address"
            ;;
        # Nobody works on it any more, perhaps after a crash.
        409:*:not-completing)
            [ "$tries_left" -gt 0 ] || break
            tries_left=$((tries_left - 1))
            sleep 1
            complete
            ;;
        *) break ;;
    esac
done
case $status:$(value code) in
    2??:*) printf '%s\n' "$answer" | sed '$d' | sed '$d' ;;
    # The response to an earlier try was lost, or was not kept.
    *:already-complete | *:answer-not-kept) ;;
    *) fail 'The server did not take the file' ;;
esac
