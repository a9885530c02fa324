"""The kernels in plain Python: the readable reference, the oracle of the tests, and the fallback.

Rows are immutable bytes; every kernel is a pure function of bytes.  native/ holds the same functions again, under the
same stems and in the same order, byte for byte and error for error equal.

    varint      unsigned LEB128, minimal length only
    vectors     version vectors as plain dicts: joined and compared
    image       the row image: context and body, decoded, checked and encoded
    rows        reading one image
    operations  local operations: a new image after one event
    joins       the join of two images, with and without clock rules
    keys        the row key grammar, and the keys column of a part
    columns     rows packed into the columns of a part, and back
    values      values of the simple types as canonical bytes
    handles     places and handles of objects, by name
    digest      the order-free digest of live rows
    parts       a part taken in: checked, brought to local indexes and joined, column by column
    sorting     much, sorted without the GIL
    layers      rows looked up in a bucket's layers, and put into one, likewise
    tokens      the text of tokens
    requests    requests that write, read without a message object for each operation, and batches carried out
"""
