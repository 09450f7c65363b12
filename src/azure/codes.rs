//! Error codes of the storage services: a description, a hint, and their scope.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>,
//! <https://learn.microsoft.com/rest/api/storageservices/file-service-error-codes>

use super::service::Service;

/// The meaning of a code for the requested object, and a hint.
pub(super) struct Meaning {
    /// A sentence without a full stop. It speaks of one blob or file as "it".
    pub sentence: &'static str,
    /// What to do.
    pub hint: &'static str,
}

const fn meaning(sentence: &'static str, hint: &'static str) -> Option<Meaning> {
    Some(Meaning { sentence, hint })
}

const LEASED: &str =
    "break the lease (az storage blob lease break) or wait until its holder releases it, then try again";
const IMMUTABLE: &str = "restore to another container, or wait until the policy ends";

/// The meaning of a code of the Blob or File service whose own message is unclear.
pub(super) fn of(code: &str) -> Option<Meaning> {
    of_blobs(code).or_else(|| of_containers(code)).or_else(|| of_files(code))
}

fn of_blobs(code: &str) -> Option<Meaning> {
    match code {
        "BlobUsesCustomerSpecifiedEncryption" => meaning(
            "it is encrypted with a key that its writer keeps (customer-provided key)",
            "Azure cannot read it without that key: store it with a key that Azure manages or an encryption scope, or \
             exclude it and back it up where the key is",
        ),
        "BlobNotFound" => meaning(
            "there is no blob of this name",
            "it was deleted; if it is still listed, delete it or write it again, or contact Azure support",
        ),
        "BlobArchived" => meaning(
            "it is in the archive tier",
            "change its tier to Hot, Cool or Cold to make it readable; that takes up to 15 hours",
        ),
        "BlobBeingRehydrated" => meaning(
            "it is being rehydrated from the archive tier",
            "wait until that is done; it takes up to 15 hours",
        ),
        "BlobImmutableDueToPolicy" => {
            meaning("a retention policy (immutable storage) forbids to change it", IMMUTABLE)
        }
        "BlobImmutableDueToLegalHold" | "ContainerHasLegalHold" => meaning(
            "a legal hold forbids to change it",
            "restore to another container, or have the legal hold removed",
        ),
        "LeaseIdMissing" | "LeaseIdMismatchWithBlobOperation" | "LeaseLost" => {
            meaning("it is leased: only the holder of the lease may change it", LEASED)
        }
        "LeaseAlreadyPresent" => meaning("another client holds a lease on it", LEASED),
        "PendingCopyOperation" => meaning(
            "a copy into it is still under way",
            "wait until the copy ends or abort it, then try again",
        ),
        "InvalidBlobType" => meaning(
            "there is a blob of this name and of another type",
            "delete it, or restore to another container",
        ),
        "UnauthorizedBlobOverwrite" => meaning(
            "the credential may write new blobs but may not replace existing ones",
            "use one that may, or restore to an empty container",
        ),
        "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions" => meaning(
            "the credential does not permit this: a role of the service principal or a permission of the shared access \
             signature is missing",
            "give it the role or the permission",
        ),
        "ConditionNotMet" => meaning("it was changed in the meantime", "try again"),
        _ => None,
    }
}

fn of_containers(code: &str) -> Option<Meaning> {
    match code {
        "ContainerNotFound" => meaning(
            "the container does not exist",
            "check the name with `tik-backup discover`: it may have been deleted or renamed",
        ),
        "ContainerBeingDeleted" => meaning(
            "the container is being deleted",
            "wait until Azure has deleted it, at least 30 seconds, or use another name",
        ),
        "ContainerDisabled" => {
            meaning("the container is disabled", "ask the administrator of the storage account")
        }
        "ContainerImmutabilityPolicyLocked" => {
            meaning("the container's locked retention policy forbids this", IMMUTABLE)
        }
        "LeaseIdMismatchWithContainerOperation" => {
            meaning("the container is leased: only the holder of the lease may change it", LEASED)
        }
        _ => None,
    }
}

fn of_files(code: &str) -> Option<Meaning> {
    match code {
        "ResourceNotFound" => meaning(
            "it does not exist",
            "it was deleted, or its name is wrong; if it is still listed, write it again",
        ),
        "ParentNotFound" => {
            meaning("the directory that it lies in does not exist", "create the directory first")
        }
        "SharingViolation" => meaning(
            "another client has opened it exclusively",
            "close it there; the Azure portal lists open handles and closes them",
        ),
        "FileLockConflict" => meaning(
            "another client has locked a part of it",
            "end the program that holds the lock, then try again",
        ),
        "DeletePending" => meaning(
            "it is marked for deletion while another client has it open",
            "close it there; the Azure portal lists open handles and closes them",
        ),
        "ReadOnlyAttribute" => meaning("it is read-only", "remove its attribute ReadOnly"),
        "ResourceTypeMismatch" => meaning(
            "a file is in the place of a directory or a directory in the place of a file",
            "remove what is there, or restore to another share",
        ),
        "InvalidFileOrDirectoryPathName" => {
            meaning("its path is longer than the service allows", "shorten the path")
        }
        "InvalidResourceName" => meaning("the service does not accept its name", "rename it"),
        "ShareNotFound" => meaning(
            "the share or the share snapshot does not exist",
            "check the name with `tik-backup discover`: it may have been deleted or renamed",
        ),
        "ShareSnapshotNotFound" => meaning(
            "the share snapshot no longer exists",
            "another program removed it while it was read: try again",
        ),
        "ShareBeingDeleted" => {
            meaning("a share of this name is being deleted", "try again in some minutes, or use another name")
        }
        "ShareDisabled" => meaning("the share is disabled", "ask the administrator of the storage account"),
        _ => None,
    }
}

/// Whether a code is about the account, the credential, the container or the share, and so holds for everything in it.
pub(super) fn is_of_service(code: &str) -> bool {
    matches!(
        code,
        "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "NoAuthenticationInformation"
            | "KeyBasedAuthenticationNotPermitted"
            | "AuthorizationFailure"
            | "IpAuthorizationError"
            | "AuthorizationSourceIPMismatch"
            | "AuthorizationProtocolMismatch"
            | "AuthorizationServiceMismatch"
            | "InsufficientAccountPermissions"
            | "PublicAccessNotPermitted"
            | "AccountIsDisabled"
            | "AccountBeingCreated"
            | "ContainerNotFound"
            | "ContainerBeingDeleted"
            | "ContainerDisabled"
            | "ShareNotFound"
            | "ShareBeingDeleted"
            | "ShareDisabled"
            | "ShareSnapshotNotFound"
    )
}

/// The hint for a refusal.
pub(super) fn advice(status: u16, code: &str, service: Option<Service>) -> Option<String> {
    let of_storage = matches!(service, Some(Service::Blob | Service::File));
    let role = match service {
        Some(Service::Blob) => "Storage Blob Data Reader",
        Some(Service::File) => "Storage File Data Privileged Reader",
        _ => "Reader",
    };
    let text = match code {
        "AuthorizationFailure" | "IpAuthorizationError" => {
            "the network rules (firewall) of the storage account do not let this machine in: allow its address, or its \
             network through a private endpoint"
        }
        "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions" => {
            return Some(format!("give the service principal the role \"{role}\" on the storage account"));
        }
        "AuthorizationFailed" | "LinkedAuthorizationFailed" => {
            "give the service principal the role \"Reader\" on the subscription, and for keys of storage accounts \
             \"Storage Account Key Operator Service Role\""
        }
        "AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => {
            "check the account's key or token, and this machine's clock: a signature is good for 15 minutes"
        }
        "KeyBasedAuthenticationNotPermitted" => {
            return Some(format!(
                "the account forbids keys: give the service principal the role \"{role}\" on it"
            ));
        }
        "AccountIsDisabled" => "the storage account or its subscription is disabled",
        "ScopeLocked" => "a ReadOnly lock forbids it: remove the lock",
        "AADSTS7000215" => "the client secret is wrong: it must be the secret's value, not its id",
        "AADSTS7000222" => "the client secret has expired: make a new one in Entra ID, App registrations",
        "AADSTS700016" => "the client id is unknown in this tenant: check client id and tenant id",
        "AADSTS90002" | "AADSTS900023" | "AADSTS90013" => "the tenant id is wrong",
        code if code.starts_with("AADSTS") => "check tenant id, client id and client secret",
        code => match of(code) {
            Some(Meaning { hint, .. }) if of_storage => hint,
            _ if matches!(status, 429 | 503) => {
                "Azure limits the rate of requests: run at another time, or with fewer parallel downloads"
            }
            _ => return None,
        },
    };
    Some(text.to_owned())
}
