#include "pool/lvm.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void lvm_words(struct lvm_words *words, ...)
{
    va_list list;
    va_start(list, words);
    for (const char *word; (word = va_arg(list, const char *)) != NULL;) {
        if (words->count == LVM_WORDS_MOST)
            abort();
        words->argv[words->count++] = word;
    }
    va_end(list);
    words->argv[words->count] = NULL;
}

static char *new_text(struct lvm_words *words)
{
    if (words->texts == sizeof words->text / sizeof *words->text)
        abort();
    return words->text[words->texts++];
}

const char *lvm_full_name(struct lvm_words *words, const struct lvm_pool *own, const char *name, const char *suffix)
{
    char *text = new_text(words);
    snprintf(text, sizeof *words->text, "%s/%s%s", own->vg, name, suffix);
    return text;
}

const char *lvm_bytes(struct lvm_words *words, int64_t bytes)
{
    char *text = new_text(words);
    snprintf(text, sizeof *words->text, "%" PRId64 "b", bytes);
    return text;
}
