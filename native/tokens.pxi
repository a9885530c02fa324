# Tokens as text: base64url without padding, of a checksum and the content, behind a prefix.

cdef enum:
    TOKEN_PREFIX_SIZE = 3  # "c1."
    NO_DIGIT = 64

cdef bytes DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef unsigned char digit_of[256]
memset(digit_of, NO_DIGIT, 256)
for _number in range(64):
    digit_of[DIGITS[_number]] = _number
del _number


def token_wrap(bytes content not None):
    """The token of a content."""
    cdef const unsigned char* digits = <const unsigned char*>PyBytes_AS_STRING(DIGITS)
    cdef const unsigned char* at
    cdef Py_ssize_t size = PyBytes_GET_SIZE(content) + 4, i = 0
    cdef uint32_t bits
    cdef Buffer plain, out
    open_buffer(&plain)
    open_buffer(&out)
    try:
        reserve(&plain, size)
        put_bits(&plain, crc32(0, <const unsigned char*>PyBytes_AS_STRING(content), size - 4), 32)
        put_bytes(&plain, <const unsigned char*>PyBytes_AS_STRING(content), size - 4)
        reserve(&out, TOKEN_PREFIX_SIZE + (size + 2) // 3 * 4)
        put_bytes(&out, <const unsigned char*>b"c1.", TOKEN_PREFIX_SIZE)
        at = plain.data
        while i < size:
            bits = at[i] << 16
            if i + 1 < size:
                bits |= at[i + 1] << 8
            if i + 2 < size:
                bits |= at[i + 2]
            put_byte(&out, digits[bits >> 18])
            put_byte(&out, digits[bits >> 12 & 63])
            if i + 1 < size:
                put_byte(&out, digits[bits >> 6 & 63])
            if i + 2 < size:
                put_byte(&out, digits[bits & 63])
            i += 3
        return (<const char*>out.data)[: out.size].decode("ascii")
    finally:
        close_buffer(&plain)
        close_buffer(&out)


def token_unwrap(str token not None):
    """The content of a token; None for what `token_wrap` has not made: cut off, altered, or something else."""
    cdef const unsigned char* at
    cdef Py_ssize_t size = 0, i
    cdef uint32_t bits = 0
    cdef int held = 0  # bits that are not yet a byte
    cdef unsigned char digit
    cdef Buffer plain
    try:
        at = <const unsigned char*>PyUnicode_AsUTF8AndSize(token, &size)
    except UnicodeEncodeError:
        return None
    if size < TOKEN_PREFIX_SIZE or memcmp(at, b"c1.", TOKEN_PREFIX_SIZE) != 0 or (size - TOKEN_PREFIX_SIZE) % 4 == 1:
        return None
    open_buffer(&plain)
    try:
        reserve(&plain, size)
        for i in range(TOKEN_PREFIX_SIZE, size):
            digit = digit_of[at[i]]
            if digit == NO_DIGIT:
                return None
            bits = (bits << 6 | digit) & 0xFFFF
            held += 6
            if held >= 8:
                held -= 8
                put_byte(&plain, bits >> held & 0xFF)
        if bits & ((1 << held) - 1) or plain.size < 4:
            return None
        if big(plain.data, 4) != crc32(0, plain.data + 4, plain.size - 4):
            return None
        return PyBytes_FromStringAndSize(<const char*>plain.data + 4, plain.size - 4)
    finally:
        close_buffer(&plain)
