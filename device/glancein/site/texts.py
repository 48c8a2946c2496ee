"""The files that follow from a register: a broker's configuration and rights, settings, trusted keys."""

from __future__ import annotations

from glancein.site.register import Kind, Member, Register

BROKER_HOME = "/etc/mosquitto/glancein"
CLIENT_HOME = "/etc/glancein"

ACCESS_LIST = """\
# A kiosk writes its own events and state and reads what is meant for it. %u is the common name of its
# certificate, <site>/<kiosk>, which is exactly its place in the topics.
pattern write glancein/v1/%u/event
pattern write glancein/v1/%u/batch
pattern write glancein/v1/%u/state
pattern read glancein/v1/%u/ack
pattern read glancein/v1/%u/refuse
pattern read glancein/v1/%u/resend
"""

SAID = ("event", "batch", "state")  # by a kiosk
TOLD = ("ack", "refuse", "resend")  # to a kiosk
# What each kind does, what it reads, what it writes.
MAY = {
    Kind.CONSUMER: ("reads everything and says what it has committed", SAID, TOLD),
    Kind.READER: ("only listens", SAID, ()),
    Kind.BROKER: ("passes on what its kiosks say, and takes back what is meant for them", TOLD, SAID),
}

CONFIGURATION = """\
# mosquitto for a company: this folder is {home}, this file is included from /etc/mosquitto/conf.d/.
# Each kiosk and each reader has a certificate; its common name is the user name in the access list.
per_listener_settings false
allow_anonymous false
acl_file {home}/glancein.acl

listener {port}
cafile {home}/ca.crt
certfile {home}/broker.crt
keyfile {home}/broker.key
crlfile {home}/revoked.crl
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
max_connections 1000

# Kiosks keep what is not acknowledged: a broker that forgets loses nothing; this only spares resending.
persistence true
autosave_interval 60
persistent_client_expiration 14d
# More than a kiosk sends between two acknowledgements; a reader that is away longer asks for the rest.
max_queued_messages 10000
max_inflight_messages 20
message_size_limit 65536
max_packet_size 131072
"""

BRIDGE = """
# What this site's kiosks say goes to the head office's broker, and its acknowledgements come back.
connection {name}
address {host}:{port}
remote_clientid glancein-bridge-{name}
bridge_protocol_version mqttv50
bridge_cafile {home}/ca.crt
bridge_certfile {home}/broker.crt
bridge_keyfile {home}/broker.key
bridge_tls_version tlsv1.3
topic glancein/v1/+/+/event out 1
topic glancein/v1/+/+/batch out 1
topic glancein/v1/+/+/state out 1
topic glancein/v1/+/+/ack in 1
topic glancein/v1/+/+/refuse in 1
topic glancein/v1/+/+/resend in 1
cleansession false
notifications false
try_private false
keepalive_interval 15
restart_timeout 1 30
"""


def access_list(register: Register) -> str:
    """Who may do what on a broker."""
    parts = [ACCESS_LIST]
    for member in register.of(Kind.CONSUMER, Kind.READER, Kind.BROKER):
        words, reads, writes = MAY[member.kind]
        if member.kind is Kind.BROKER and not member.upstream:
            continue
        rights = [
            *(f"read glancein/v1/+/+/{leaf}" for leaf in reads),
            *(f"write glancein/v1/+/+/{leaf}" for leaf in writes),
        ]
        lines = "".join(f"topic {right}\n" for right in rights)
        parts.append(f"\n# {member.name} {words}.\nuser {member.name}\n{lines}")
    return "".join(parts)


def configuration(register: Register, broker: Member) -> str:
    """The mosquitto configuration of one broker."""
    text = CONFIGURATION.format(home=BROKER_HOME, port=broker.port)
    if not broker.upstream:
        return text
    upper = register.get(broker.upstream)
    host = f"[{upper.hosts[0]}]" if ":" in upper.hosts[0] else upper.hosts[0]
    return text + BRIDGE.format(home=BROKER_HOME, name=broker.name, host=host, port=upper.port)


def trusted_kiosks(register: Register) -> str:
    """What a consumer believes: the signing keys of every kiosk."""
    return _keys(register, Kind.KIOSK)


def trusted_consumers(register: Register) -> str:
    """Whose acknowledgements a kiosk believes."""
    return _keys(register, Kind.CONSUMER)


def settings(member: Member, broker: Member) -> str:
    """The lines for /etc/glancein/kiosk.env or feed.env."""
    host = f"[{broker.hosts[0]}]" if ":" in broker.hosts[0] else broker.hosts[0]
    home = f"{CLIENT_HOME}/{'identity' if member.kind is Kind.KIOSK else 'feed'}"
    url = f"mqtts://{host}:{broker.port}?ca={home}/ca.crt&cert={home}/client.crt&key={home}/client.key"
    keys = {"SIGNING_KEY": f"{home}/signing.key", "TRUSTED_KEYS": f"{home}/trusted.keys"}
    match member.kind:
        case Kind.KIOSK:
            site, kiosk = member.name.split("/")
            values = {"SITE": site, "KIOSK": kiosk, "BROKER": url} | keys
        case Kind.READER:
            values = {"FEED_BROKER": url, "FEED_TRUSTED_KEYS": keys["TRUSTED_KEYS"]}
        case _:
            values = {"FEED_BROKER": url} | {f"FEED_{name}": value for name, value in keys.items()}
    return "".join(f"GLANCEIN_{name}={value}\n" for name, value in values.items())


def _keys(register: Register, kind: Kind) -> str:
    lines = [
        f"{kind.value} {member.name} {issue.signing_key}\n"
        for member in register.of(kind)
        for issue in member.valid
    ]
    return (
        f"# glancein site: the {kind.value}s that count; copy again whenever one is added or revoked.\n"
        + ("".join(lines))
    )
