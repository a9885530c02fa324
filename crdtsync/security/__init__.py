"""TLS: who is who, from which files, and why a connection did not come about.

    files        TlsFiles: three files, loaded, checked, looked at again, replaced when they have changed and are good
    identity     Identity(role, name) and the names in a certificate that stand for it
    credentials  what gRPC needs of them, for servers and for channels, and `caller(context)`; loads gRPC
    handshakes   how many connections have failed between nodes, which gRPC does not tell
    diagnosis    diagnose(address, ...): which mistake it is, where gRPC only says UNAVAILABLE
    material     one set of files, read and proven to fit each other; `handshake` is how
    making       certificates made, for `crdtsync tls` and tests (`crdtsync.security.making` needs `cryptography`)

A server with mutual TLS:

    files = TlsFiles.of(config)              # None without tls_cert; raises CertificateError, a ConfigError
    files.require(NODE, name)                # the certificate is for this node
    files.start()                            # looks at the files every tls_reload_interval s; `stop()` ends it
    server.add_secure_port(address, ServerCredentials(files).grpc)     # new connections take what is loaded then
    caller(context)                          # in a handler: Identity("client", "NAME"); BadIdentity when there is none
                                             # Admin is for the roles in identity.ADMINISTRATORS
    files.on_change(listener)                # called after each change: end or rebuild what was made before
    files.status(), files.counters           # for status(): the end of the certificate, the last error, ...

A channel, which keeps what was loaded when it was made (make another after a change, and every connection_age_max s):

    grpc.aio.secure_channel(target, channel_credentials(files), options=[*name_options(ANY_NODE), ...])

`name_options(ANY_NODE)` takes any node of our authority for the server, `name_options(server_name("n1"))` only node n1;
without it gRPC checks the dialled host.  When the channel does not get ready, ask in a worker thread, and not for every
attempt: `diagnose("host:port", files.material, ANY_NODE)`, or `diagnose("host:port", None)` for plaintext, has `code`,
`text` and `hint`.
"""

import os

# gRPC would tell of every fork and every connection that goes away on standard error; read when it starts.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
