/*
 * Slots of a Redis Cluster and its redirections; contract in the header. Called
 * by src/redis and by the opsauth command.
 */

#include <string.h>

#include "oa_slot.h"
#include "oa_text.h"


/* a DNS name without its final dot */
#define OA_SLOT_HOST_MAX  253


static uint16_t oa_slot_crc16(oa_str_t text);


/* of four bits each: a key costs less than looking at it did, and the table is
   read at a glance */
static const uint16_t  oa_slot_table[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef
};


static uint16_t
oa_slot_crc16(oa_str_t text)
{
    size_t    i;
    uint16_t  crc;

    crc = 0;

    for (i = 0; i < text.len; i++) {
        crc = (uint16_t) (crc << 4)
              ^ oa_slot_table[(crc >> 12) ^ (text.data[i] >> 4)];
        crc = (uint16_t) (crc << 4)
              ^ oa_slot_table[(crc >> 12) ^ (text.data[i] & 0x0f)];
    }

    return crc;
}


unsigned
oa_slot(oa_str_t key)
{
    oa_str_t              tag;
    const unsigned char  *open, *close;

    open = key.len ? memchr(key.data, '{', key.len) : NULL;

    if (open != NULL) {
        tag.data = open + 1;
        tag.len = key.len - (size_t) (open - key.data) - 1;

        close = tag.len ? memchr(tag.data, '}', tag.len) : NULL;

        if (close != NULL && close != tag.data) {
            tag.len = (size_t) (close - tag.data);
            key = tag;
        }
    }

    return oa_slot_crc16(key) % OA_SLOTS;
}


oa_rc_t
oa_redirect_parse(oa_str_t text, oa_redirect_t *redirect)
{
    size_t                i;
    int64_t               n;
    oa_str_t              slot, port;
    const unsigned char  *space;

    memset(redirect, 0, sizeof(*redirect));

    if (text.len > 6 && memcmp(text.data, "MOVED ", 6) == 0) {
        redirect->kind = OA_REDIRECT_MOVED;
        i = 6;

    } else if (text.len > 4 && memcmp(text.data, "ASK ", 4) == 0) {
        redirect->kind = OA_REDIRECT_ASK;
        i = 4;

    } else {
        return OA_INVALID;
    }

    slot.data = text.data + i;
    slot.len = text.len - i;

    space = memchr(slot.data, ' ', slot.len);

    if (space == NULL) {
        return OA_INVALID;
    }

    redirect->host.data = space + 1;
    redirect->host.len = slot.len - (size_t) (space - slot.data) - 1;

    slot.len = (size_t) (space - slot.data);

    if (oa_text_number(slot, OA_SLOTS - 1, &n) != OA_OK) {
        return OA_INVALID;
    }

    redirect->slot = (unsigned) n;

    /* the last colon: an address of version 6 has some of its own */

    for (i = redirect->host.len; i != 0; i--) {
        if (redirect->host.data[i - 1] == ':') {
            break;
        }
    }

    if (i == 0) {
        return OA_INVALID;
    }

    port.data = redirect->host.data + i;
    port.len = redirect->host.len - i;

    redirect->host.len = i - 1;

    if (oa_text_number(port, 65535, &n) != OA_OK || n == 0) {
        return OA_INVALID;
    }

    redirect->port = (unsigned) n;

    if (redirect->host.len == 1 && redirect->host.data[0] == '?') {
        redirect->host.len = 0;
        redirect->unnamed = 1;
    }

    return (redirect->host.len == 0 || oa_slot_is_host(redirect->host))
           ? OA_OK : OA_INVALID;
}


int
oa_slot_is_host(oa_str_t host)
{
    size_t         i;
    unsigned char  c;

    if (host.len == 0 || host.len > OA_SLOT_HOST_MAX || host.data[0] == '-') {
        return 0;
    }

    for (i = 0; i < host.len; i++) {
        c = host.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_'
              || c == ':'))
        {
            return 0;
        }
    }

    return 1;
}
