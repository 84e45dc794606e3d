"""Why a sealed value cannot be had; no message holds a value, a key or a part of one.

VaultError
├── Unreadable          these bytes are not what was sealed for this place
│   ├── Truncated       they end too early
│   ├── UnknownFormat   no format or algorithm that this version knows
│   ├── Downgraded      sealed in a way that the key it names was not made for
│   ├── ForeignEntity   another legal entity's
│   ├── WrongKey        another key, version or subject than the one at hand
│   ├── WrongPlace      sealed for another row, column or table
│   └── Tampered        changed since they were sealed
├── KeyMissing          there is no such key (any more)
│   └── SubjectDestroyed  it was destroyed on purpose, for good
├── KeysOutdated        these keys were read too long ago to seal anything under
├── TombstonesMissing   nobody can tell now which subjects were destroyed
├── SecretMissing       no version of this secret is in use
├── KmsUnavailable      the KMS did not answer in time: the same may be asked again
└── KmsRefused          the KMS answered, and will answer so again
    ├── KmsKeyDisabled  its key is disabled, or about to be deleted
    ├── KmsDenied       this process may not use it
    └── KmsWrongInput   these bytes were not wrapped by this key in this context
"""


class VaultError(Exception):
    """A sealed value, or what it takes to open it, cannot be had."""


class Unreadable(VaultError):
    """The bytes are not what was sealed for this place under this key."""


class Truncated(Unreadable):
    """The bytes end before what their header promises."""


class UnknownFormat(Unreadable):
    """No format, algorithm or kind of key that this version knows."""


class Downgraded(Unreadable):
    """The header names another algorithm than the key was made for."""


class ForeignEntity(Unreadable):
    """Sealed under a key of another legal entity."""


class WrongKey(Unreadable):
    """Sealed under another key than the one at hand: another version, subject or key material."""


class WrongPlace(Unreadable):
    """Sealed for another table, column or row."""


class Tampered(Unreadable):
    """The bytes were changed since they were sealed."""


class KeyMissing(VaultError):
    """There is no such key."""


class SubjectDestroyed(KeyMissing):
    """The subject's keys were destroyed: nobody can read what was sealed under them."""


class KeysOutdated(VaultError):
    """The keys were read so long ago that their version may be no more: nothing was sealed."""

    def __init__(self) -> None:
        super().__init__("these keys were read too long ago to seal anything under")


class TombstonesMissing(VaultError):
    """The journal of destroyed subjects is not there, or is another deployment's."""


class SecretMissing(VaultError):
    """The owner has no secret of this kind in use."""


class KmsUnavailable(VaultError):
    """The KMS did not answer, or not in time, or asked to be left alone for a while."""


class KmsRefused(VaultError):
    """The KMS answered, and will give the same answer again until somebody changes something."""


class KmsKeyDisabled(KmsRefused):
    """The root key is disabled, pending deletion, or otherwise not usable now."""


class KmsDenied(KmsRefused):
    """The credentials of this process do not allow it."""


class KmsWrongInput(KmsRefused):
    """The bytes were not wrapped under this root key in this context, or were changed since."""
