#!/usr/bin/env bash
# A language model for the example: it says a text word by word, in OpenAI's chunk format, into `rejoin pipe`.
# Usage: speak.sh [message id]. REJOIN names the program, REJOIN_URL the server, WORDS_PER_SECOND the pace.
set -euo pipefail

id=${1:-$(cat /proc/sys/kernel/random/uuid)}
url=${REJOIN_URL:-http://127.0.0.1:8080}
pause=$(awk "BEGIN { print 1 / ${WORDS_PER_SECOND:-8} }")

say() {
    printf 'data: {"choices":[{"index":0,"delta":{"content":"%s "},"finish_reason":null}]}\n\n' "$1"
}

speak() {
    local paragraph word
    for paragraph in 1 2 3 4 5 6; do
        for word in This is paragraph "$paragraph" of an answer that does not mind when its connection goes: what was said is \
            kept, what is said is numbered, and who comes back is told the rest, once and in order.; do
            say "$word"
            sleep "$pause"
        done
        printf 'data: {"choices":[{"index":0,"delta":{"content":"\\n\\n"},"finish_reason":null}]}\n\n'
    done
    printf 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
}

echo "open http://localhost:8000/index.html?message=$id&server=$url" >&2
# A reader's stop closes the pipe, and ends the speech.
speak 2>/dev/null | "${REJOIN:-rejoin}" pipe --url "$url" --message "$id" --user local --as text
