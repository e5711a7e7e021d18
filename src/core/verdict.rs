//! Why a request is refused, and what follows from it: the one table from reason to status, challenge
//! and log id.

/// Why a request was refused. One word each ([`Reason::word`]), the same in code, log, environment,
/// metric and documentation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs)] // the words are the documentation; the table below says what follows
pub enum Reason {
    AddressDenied,
    AlgorithmRefused,
    ApiKeyInvalid,
    AudienceMismatch,
    ClaimDenied,
    ClaimMismatch,
    CredentialsAmbiguous,
    CredentialsMalformed,
    Csrf,
    Internal,
    IssuerUnknown,
    KeyUnknown,
    KeysUnavailable,
    LockedOut,
    QuotaExceeded,
    PathAmbiguous,
    RateLimited,
    ScopeInsufficient,
    SignatureInvalid,
    TokenExpired,
    TokenMalformed,
    TokenMissing,
    TokenNotYetValid,
    TokenRevoked,
    TokenTooLarge,
    TypeMismatch,
}

/// The error code of a challenge (RFC 6750 section 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorCode {
    /// The request itself is malformed: 400.
    InvalidRequest,
    /// The token is expired, revoked, malformed or invalid for other reasons: 401.
    InvalidToken,
    /// The token is good, but does not go far enough: 403.
    InsufficientScope,
}

impl ErrorCode {
    /// The code as RFC 6750 section 3.1 spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

/// What follows from a reason.
#[derive(Clone, Copy, Debug)]
pub struct Consequence {
    /// The reason's one word.
    pub word: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The answer carries a `WWW-Authenticate` challenge.
    pub challenge: bool,
    /// Error code of the challenge and of the problem body.
    pub error: Option<ErrorCode>,
    /// Number of the error-log line.
    pub log_id: &'static str,
}

const fn row(
    word: &'static str,
    status: u16,
    challenge: bool,
    error: Option<ErrorCode>,
    log_id: &'static str,
) -> Consequence {
    Consequence { word, status, challenge, error, log_id }
}

impl Reason {
    /// All reasons, for tests and documentation.
    pub const ALL: [Self; 26] = [
        Self::AddressDenied,
        Self::AlgorithmRefused,
        Self::ApiKeyInvalid,
        Self::AudienceMismatch,
        Self::ClaimDenied,
        Self::ClaimMismatch,
        Self::CredentialsAmbiguous,
        Self::CredentialsMalformed,
        Self::Csrf,
        Self::Internal,
        Self::IssuerUnknown,
        Self::KeyUnknown,
        Self::KeysUnavailable,
        Self::LockedOut,
        Self::QuotaExceeded,
        Self::PathAmbiguous,
        Self::RateLimited,
        Self::ScopeInsufficient,
        Self::SignatureInvalid,
        Self::TokenExpired,
        Self::TokenMalformed,
        Self::TokenMissing,
        Self::TokenNotYetValid,
        Self::TokenRevoked,
        Self::TokenTooLarge,
        Self::TypeMismatch,
    ];

    /// The row of the table for this reason.
    pub const fn consequence(self) -> Consequence {
        const REQUEST: Option<ErrorCode> = Some(ErrorCode::InvalidRequest);
        const TOKEN: Option<ErrorCode> = Some(ErrorCode::InvalidToken);
        const SCOPE: Option<ErrorCode> = Some(ErrorCode::InsufficientScope);
        match self {
            Self::AddressDenied => row("address-denied", 403, false, None, "JG1001"),
            Self::RateLimited => row("rate-limited", 429, false, None, "JG1002"),
            Self::TokenMissing => row("token-missing", 401, true, None, "JG1003"),
            Self::CredentialsAmbiguous => row("credentials-ambiguous", 400, true, REQUEST, "JG1004"),
            Self::CredentialsMalformed => row("credentials-malformed", 400, true, REQUEST, "JG1005"),
            Self::TokenTooLarge => row("token-too-large", 401, true, TOKEN, "JG1006"),
            Self::TokenMalformed => row("token-malformed", 401, true, TOKEN, "JG1007"),
            Self::AlgorithmRefused => row("algorithm-refused", 401, true, TOKEN, "JG1008"),
            Self::IssuerUnknown => row("issuer-unknown", 401, true, TOKEN, "JG1009"),
            Self::KeyUnknown => row("key-unknown", 401, true, TOKEN, "JG1010"),
            Self::KeysUnavailable => row("keys-unavailable", 503, false, None, "JG1011"),
            Self::SignatureInvalid => row("signature-invalid", 401, true, TOKEN, "JG1012"),
            Self::TokenExpired => row("token-expired", 401, true, TOKEN, "JG1013"),
            Self::TokenNotYetValid => row("token-not-yet-valid", 401, true, TOKEN, "JG1014"),
            Self::AudienceMismatch => row("audience-mismatch", 401, true, TOKEN, "JG1015"),
            Self::TypeMismatch => row("type-mismatch", 401, true, TOKEN, "JG1016"),
            Self::ClaimMismatch => row("claim-mismatch", 401, true, TOKEN, "JG1017"),
            Self::Csrf => row("csrf", 403, false, None, "JG1018"),
            Self::Internal => row("internal", 500, false, None, "JG1019"),
            // JG1020 is the glue's.
            Self::TokenRevoked => row("token-revoked", 401, true, TOKEN, "JG1021"),
            Self::ScopeInsufficient => row("scope-insufficient", 403, true, SCOPE, "JG1022"),
            Self::ClaimDenied => row("claim-denied", 403, false, None, "JG1023"),
            // JG1024 is the glue's.
            Self::QuotaExceeded => row("quota-exceeded", 429, false, None, "JG1025"),
            Self::LockedOut => row("locked-out", 429, false, None, "JG1026"),
            Self::ApiKeyInvalid => row("api-key-invalid", 401, true, TOKEN, "JG1027"),
            Self::PathAmbiguous => row("path-ambiguous", 400, false, None, "JG1028"),
        }
    }

    /// Whether it is a failure of whoever tries credentials, for `JwtGateLockout`.
    pub const fn is_failed_try(self) -> bool {
        matches!(
            self,
            Self::TokenMalformed
                | Self::AlgorithmRefused
                | Self::IssuerUnknown
                | Self::SignatureInvalid
                | Self::ApiKeyInvalid
        )
    }

    /// The reason's one word.
    pub const fn word(self) -> &'static str {
        self.consequence().word
    }
}

/// What became of a request, or of what a limit was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ruling {
    /// Let in.
    Allow,
    /// Refused.
    Deny(Reason),
    /// Let in, but it would have been refused if this were not a dry run.
    WouldDeny(Reason),
}

impl Ruling {
    /// The verdict's one word, the same in log, environment and metric.
    pub const fn verdict(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::WouldDeny(_) => "would-deny",
        }
    }

    /// Why, if not let in just so.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Allow => None,
            Self::Deny(reason) | Self::WouldDeny(reason) => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_and_log_ids_are_unique() {
        let words: HashSet<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        let ids: HashSet<_> = Reason::ALL.iter().map(|r| r.consequence().log_id).collect();
        assert_eq!((words.len(), ids.len()), (Reason::ALL.len(), Reason::ALL.len()));
    }

    #[test]
    fn every_401_challenges_and_nothing_else_but_bad_credentials_and_the_lack_of_a_scope_does() {
        for reason in Reason::ALL {
            let row = reason.consequence();
            let challenges = match reason {
                Reason::CredentialsAmbiguous | Reason::CredentialsMalformed | Reason::ScopeInsufficient => true,
                _ => row.status == 401,
            };
            assert_eq!(row.challenge, challenges, "{}", row.word);
        }
    }
}
