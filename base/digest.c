/*
 * SHA256_Update() and not EVP: the one-shot calls load OpenSSL's provider, 3 MB of a node's 10.  They are marked
 * deprecated since 3.0 but are the same code.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/digest.h"

#include "base/text.h"

#include <openssl/sha.h>

void digest_hex(const void *bytes, size_t length, size_t digits, char *hex)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char all[2 * SHA256_DIGEST_LENGTH + 1];
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, bytes, length);
    SHA256_Final(digest, &context);
    text_to_hex(digest, sizeof digest, all);
    for (size_t i = 0; i < digits; i++)
        hex[i] = all[i];
    hex[digits] = '\0';
}
