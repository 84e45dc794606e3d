"""What AWS KMS and its SDK answer, as errors of the vault.

Only names from these lists are repeated: a message, or a code that we do not know, may hold what
was sent. Source of the codes: the API reference of AWS KMS, Encrypt, Decrypt and Common Errors.
"""

from typing import Final

from strongroom.vault.errors import (
    KmsDenied,
    KmsKeyDisabled,
    KmsRefused,
    KmsUnavailable,
    KmsWrongInput,
    VaultError,
)

UNAVAILABLE: Final = frozenset(
    "ThrottlingException Throttling TooManyRequestsException RequestLimitExceeded "
    "LimitExceededException KMSInternalException InternalFailure DependencyTimeoutException "
    "KeyUnavailableException ServiceUnavailable ServiceUnavailableException".split()
)
DISABLED: Final = frozenset({"DisabledException", "KMSInvalidStateException"})
DENIED: Final = frozenset(
    "AccessDeniedException AccessDenied NotFoundException NotAuthorized InvalidClientTokenId "
    "UnrecognizedClientException ExpiredTokenException ExpiredToken RequestExpired "
    "IncompleteSignature InvalidSignatureException SignatureDoesNotMatch OptInRequired "
    "MissingAuthenticationToken MissingAuthenticationTokenException InvalidGrantTokenException "
    "InvalidIdentityToken".split()
)
WRONG_INPUT: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


def refusal_of(error: Exception) -> VaultError:
    """The vault's error for whatever the SDK raised. It is given, not raised: no chain leads back.

    What the SDK could not even ask for want of credentials is denied; what it could not ask
    because a server was away, the one for credentials too, is unavailable.
    """
    from botocore import exceptions as sdk

    match error:
        case sdk.ClientError():
            return _of_answer(error.response)
        case (
            sdk.ConnectionError()
            | sdk.HTTPClientError()
            | sdk.CredentialRetrievalError()
            | sdk.MetadataRetrievalError()
            | sdk.TokenRetrievalError()
        ):
            return KmsUnavailable(f"AWS KMS cannot be reached: {type(error).__name__}")
        case (
            sdk.NoCredentialsError()
            | sdk.PartialCredentialsError()
            | sdk.NoAuthTokenError()
            | sdk.ProfileNotFound()
            | sdk.ConfigParseError()
            | sdk.ConfigNotFound()
            | sdk.InvalidConfigError()
            | sdk.SSOError()
            | sdk.LoginError()
        ):
            return KmsDenied(f"this process has no credentials for AWS: {type(error).__name__}")
        case sdk.BotoCoreError():
            return KmsRefused(f"AWS KMS cannot be asked: {type(error).__name__}")
        case _:
            # What the SDK stumbles over, as over JSON that is no object, is no error of its own.
            return KmsUnavailable(f"an answer of AWS KMS cannot be read: {type(error).__name__}")


def _of_answer(response: dict[str, dict[str, object]]) -> VaultError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    status = status if isinstance(status, int) else 0
    if code in WRONG_INPUT:
        return KmsWrongInput(f"AWS KMS: {code}: another key, another context, or changed since")
    if code in DISABLED:
        return KmsKeyDisabled(f"AWS KMS: {code}: enable the root key, or cancel its deletion")
    if code in DENIED:
        return KmsDenied(f"AWS KMS: {code}: see the key's policy and this process's role")
    if code in UNAVAILABLE:
        return KmsUnavailable(f"AWS KMS: {code}")
    if status >= 500 or status == 429:
        return KmsUnavailable(f"AWS KMS answered with status {status}")
    return KmsRefused(f"AWS KMS refused with status {status}")
