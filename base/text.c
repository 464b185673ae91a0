#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes one character.  Returns its length in bytes, or 0 if it is not well-formed. */
static size_t decode(const unsigned char *bytes, size_t length, uint32_t *character)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t size = 1; size <= 4; size++) {
        if ((bytes[0] & forms[size - 1].mask) != forms[size - 1].lead)
            continue;
        if (size > length)
            return 0;
        uint32_t value = bytes[0] & (unsigned char)~forms[size - 1].mask;
        for (size_t i = 1; i < size; i++) {
            if ((bytes[i] & 0xc0) != 0x80)
                return 0;
            value = value << 6 | (bytes[i] & 0x3f);
        }
        *character = value;
        bool surrogate = value >= 0xd800 && value <= 0xdfff;
        return value >= forms[size - 1].least && value <= 0x10ffff && !surrogate ? size : 0;
    }
    return 0;
}

bool text_is_utf8(const char *bytes, size_t length)
{
    for (size_t at = 0, size; at < length; at += size) {
        uint32_t character;
        size = decode((const unsigned char *)bytes + at, length - at, &character);
        if (size == 0)
            return false;
    }
    return true;
}

bool text_has_control(const char *bytes, size_t length)
{
    for (size_t at = 0, size; at < length; at += size) {
        uint32_t character;
        size = decode((const unsigned char *)bytes + at, length - at, &character);
        bool allowed = character == '\t' || character == '\n' || character == '\r';
        if (size == 0 || (character < 0x20 && !allowed) || (character >= 0x7f && character <= 0x9f))
            return true;
    }
    return false;
}

void text_one_line(char *line, size_t size, const char *words)
{
    size_t used = 0;
    bool space = false;
    for (size_t at = 0, length = strlen(words), step; at < length; at += step) {
        uint32_t character;
        step = decode((const unsigned char *)words + at, length - at, &character);
        if (step != 0 && (character <= 0x20 || (character >= 0x7f && character <= 0x9f))) {
            space = used > 0;
            continue;
        }
        size_t bytes = step == 0 ? 1 : step;
        if (used + (space ? 1 : 0) + bytes >= size)
            break;
        if (space)
            line[used++] = ' ';
        space = false;
        if (step == 0)
            line[used] = '?';
        else
            memcpy(line + used, words + at, bytes);
        used += bytes;
        step = bytes;
    }
    line[used] = '\0';
}

bool text_to_number(const char *text, int64_t least, int64_t most, const char *what, int64_t *number,
                    struct error *error)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool plain = text[0] == '-' ? text[1] >= '0' && text[1] <= '9' : text[0] >= '0' && text[0] <= '9';
    if (!plain || *end != '\0' || errno != 0 || value < least || value > most)
        return fail(error, INVALID_ARGUMENT, "%s must be a whole number from %" PRId64 " to %" PRId64 ", not \"%.64s\"",
                    what, least, most, text);
    *number = value;
    return true;
}

static const struct {
    const char *suffix;
    int64_t bytes;
} units[] = {
    {"", 1},
    {"k", 1000},
    {"M", 1000000},
    {"G", 1000000000},
    {"T", INT64_C(1000000000000)},
    {"P", INT64_C(1000000000000000)},
    {"E", INT64_C(1000000000000000000)},
    {"Ki", 1 << 10},
    {"Mi", 1 << 20},
    {"Gi", 1 << 30},
    {"Ti", INT64_C(1) << 40},
    {"Pi", INT64_C(1) << 50},
    {"Ei", INT64_C(1) << 60},
};

bool text_to_size(const char *text, const char *what, int64_t *bytes, struct error *error)
{
    char *end;
    errno = 0;
    long long value = text[0] >= '0' && text[0] <= '9' ? strtoll(text, &end, 10) : -1;
    for (size_t i = 0; value >= 0 && errno == 0 && i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].suffix) == 0 && !__builtin_mul_overflow(value, units[i].bytes, bytes))
            return true;
    return fail(error, INVALID_ARGUMENT, "%s must be a size such as 10Mi, 1Gi or 1073741824, not \"%.64s\"", what,
                text);
}

const char *text_from_size(int64_t bytes, char buffer[static 32])
{
    static const char *const suffixes[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 1024 && unit < sizeof suffixes / sizeof *suffixes - 1) {
        value /= 1024;
        unit++;
    }
    bool whole = value == (double)(int64_t)value;
    snprintf(buffer, 32, whole ? "%.0f%s" : "%.1f%s", value, suffixes[unit]);
    return buffer;
}

void text_copy(char *field, size_t size, const char *string)
{
    size_t length = strnlen(string, size - 1);
    memcpy(field, string, length);
    field[length] = '\0';
}

bool text_is_made_of(const char *name, const char *characters, size_t most)
{
    size_t length = strspn(name, characters);
    return length > 0 && length <= most && name[length] == '\0';
}

void text_to_hex(const unsigned char *bytes, size_t count, char *hex)
{
    for (size_t i = 0; i < count; i++) {
        hex[2 * i] = HEX_DIGITS[bytes[i] >> 4];
        hex[2 * i + 1] = HEX_DIGITS[bytes[i] & 15];
    }
    hex[2 * count] = '\0';
}
