"""Why libpq could not connect, in words of ours: its own may quote parts of a mistyped URL."""

#: What libpq or the server says, and what we tell. The first that fits.
_WORDS: tuple[tuple[str, str], ...] = (
    ("certificate verify failed", "the server's certificate is not signed by the authority of sslrootcert, or is over"),
    ("does not match host name", "the server's certificate is for another host name"),
    ("server certificate", "the server's certificate is not accepted"),
    ("requires a valid client certificate", "the server wants a client certificate (sslcert, sslkey)"),
    ("certificate authentication failed", "the client certificate is not this login's"),
    ("alert unknown ca", "the server does not know the authority of the client certificate"),
    (" alert ", "the server refuses the client certificate"),
    ("server does not support SSL", "the server speaks no TLS, which sslmode asks for"),
    ("no encryption", "the server takes no connection without TLS (sslmode)"),
    ("no pg_hba.conf entry", "the server's pg_hba.conf lets this login not in from here"),
    ("root certificate file", "sslrootcert names no file"),
    ("private key file", "sslkey names no file, or one that others may read (chmod 600)"),
    ("could not load private key", "sslkey is not the key of sslcert, or can't be read"),
    ("could not read certificate file", "sslcert is no certificate, or can't be read"),
    ("could not read root certificate file", "sslrootcert is no certificate, or can't be read"),
    ("invalid sslmode value", "sslmode has no such value"),
)


def refusal_of(error: BaseException) -> str | None:
    """Why the two sides refuse each other; None where the server is just not there, or the reason is another one.

    Args:
        error: of psycopg, without SQLSTATE: libpq keeps none of a connection that did not come about.
    """
    told = str(error)
    return next((words for said, words in _WORDS if said in told), None)
