# XXH3-128 without a seed, of 17 to 240 bytes: most rows.  A call of the library costs several times the hashing.

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    typedef unsigned __int128 crdtsync_uint128;
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define crdtsync_little64(value) __builtin_bswap64(value)
    #else
    #define crdtsync_little64(value) (value)
    #endif
    static const unsigned char crdtsync_secret[144] = {  /* of the 192 bytes that XXH3 has, those that are needed here */
        0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
        0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
        0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
        0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
        0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
        0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
        0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
        0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
        0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    };
    """
    ctypedef unsigned long long uint128 "crdtsync_uint128"
    uint64_t little64 "crdtsync_little64" (uint64_t value) nogil
    const unsigned char secret "crdtsync_secret" [144]
    const uint64_t PRIME_1 "0x9E3779B185EBCA87u"
    const uint64_t PRIME_2 "0xC2B2AE3D27D4EB4Fu"
    const uint64_t PRIME_4 "0x85EBCA77C2B2AE63u"

cdef enum:
    HASHED_LEAST = 17
    HASHED_MOST = 240

cdef struct Hash:
    uint64_t low
    uint64_t high


cdef inline Hash xxh3_128(const unsigned char* data, uint64_t size) noexcept nogil:
    """Of HASHED_LEAST to HASHED_MOST bytes."""
    cdef Hash hash
    cdef uint64_t at, low, high
    hash.low = size * PRIME_1
    hash.high = 0
    if size <= 128:
        at = (size - 1) // 32
        while at > 0:
            mix(&hash, data + 16 * at, data + size - 16 * at - 16, secret + 32 * at)
            at -= 1
        mix(&hash, data, data + size - 16, secret)
    else:
        for at in range(4):
            mix(&hash, data + 32 * at, data + 32 * at + 16, secret + 32 * at)
        hash.low = avalanche(hash.low)
        hash.high = avalanche(hash.high)
        for at in range(4, size // 32):
            mix(&hash, data + 32 * at, data + 32 * at + 16, secret + 3 + 32 * (at - 4))
        mix(&hash, data + size - 16, data + size - 32, secret + 103)
    low, high = hash.low, hash.high
    hash.low = avalanche(low + high)
    hash.high = 0 - avalanche(low * PRIME_1 + high * PRIME_4 + size * PRIME_2)
    return hash


cdef inline void mix(Hash* hash, const unsigned char* x, const unsigned char* y, const unsigned char* key) noexcept nogil:
    hash.low = (hash.low + mixed(x, key)) ^ (read64(y) + read64(y + 8))
    hash.high = (hash.high + mixed(y, key + 16)) ^ (read64(x) + read64(x + 8))


cdef inline uint64_t mixed(const unsigned char* data, const unsigned char* key) noexcept nogil:
    cdef uint128 product = <uint128>(read64(data) ^ read64(key)) * (read64(data + 8) ^ read64(key + 8))
    return <uint64_t>product ^ <uint64_t>(product >> 64)


cdef inline uint64_t avalanche(uint64_t value) noexcept nogil:
    value = (value ^ value >> 37) * <uint64_t>0x165667919E3779F9
    return value ^ value >> 32


cdef inline uint64_t read64(const unsigned char* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return little64(value)
