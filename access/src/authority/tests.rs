//! What an authority decides. See `fixture` for the keys that it asks.

mod fixture;

use std::sync::atomic::Ordering;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use events::{Offset, Place, Scope, Scopes, UnixMillis};

use self::fixture::{Fixture, PARTITION, PARTITIONS, ROOT, Trouble};
use super::*;
use crate::admission::CHECK_INTERVAL;
use crate::secret::{Secret, SecretText};

#[tokio::test(start_paused = true)]
async fn a_key_is_looked_up_once() {
    let fixture = Fixture::new();
    let (grant, secret) = fixture.issue(Scope::Write, None);
    fixture.look().await;
    assert_eq!(fixture.decide(&secret).await.unwrap(), Principal::Key(grant));
    let look_ups = fixture.look_ups();
    for _ in 0..3 {
        assert_eq!(fixture.decide(&secret).await.unwrap(), Principal::Key(grant));
    }
    assert_eq!(fixture.look_ups(), look_ups, "it was remembered");
    assert_eq!(fixture.decide(ROOT).await.unwrap(), Principal::Root);
}

#[tokio::test(start_paused = true)]
async fn only_the_root_key_is_admitted_before_changes_are_followed() {
    let fixture = Fixture::new();
    let (_, secret) = fixture.issue(Scope::Write, None);
    fixture.expect_code(&secret, "access-behind").await;
    assert_eq!(fixture.decide(ROOT).await.unwrap(), Principal::Root);
}

#[tokio::test(start_paused = true)]
async fn an_invented_secret_is_refused_as_soon_as_the_projection_has_passed_its_place() {
    let fixture = Fixture::new();
    fixture.issue(Scope::Read, None);
    fixture.look().await;
    let invented = |partition, offset| {
        let place = Place { partition, offset: Offset(offset) };
        SecretText::into_string(Secret::generate().at(place))
    };
    fixture.expect_code(&invented(PARTITION, 0), "invalid-token").await;
    fixture.expect_code(&invented(PARTITION, 1), "access-behind").await;
    fixture.expect_code(&invented(PARTITION, u64::MAX), "invalid-token").await;
    // The log has no such partition, so nothing will ever be there.
    let began = Instant::now();
    for partition in [PartitionId(PARTITIONS.get()), PartitionId(u16::MAX)] {
        fixture.expect_code(&invented(partition, 1), "invalid-token").await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "somebody has waited");
    for malformed in ["x", "tally_", "a.b.c", &format!("{ROOT}x")] {
        fixture.expect_code(malformed, "invalid-token").await;
    }
}

/// Whoever issues a key gets its secret when another server may not yet know the key.
#[tokio::test(start_paused = true)]
async fn a_new_key_works_once_the_projection_has_come_to_it() {
    let fixture = Fixture::new();
    fixture.look().await;
    let (grant, secret) = fixture.issue(Scope::Read, None);
    let key = {
        let mut state = fixture.keys.state.lock();
        state.applied = 0;
        state.keys.pop().unwrap()
    };
    let applying = async {
        tokio::time::sleep(WAIT / 2).await;
        let mut state = fixture.keys.state.lock();
        state.keys.push(key);
        state.applied = 1;
    };
    let (decided, ()) = tokio::join!(fixture.decide(&secret), applying);
    assert_eq!(decided.unwrap(), Principal::Key(grant));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_ends_with_what_it_has_minted() {
    let fixture = Fixture::new();
    let ((first, secret), (second, _)) = (fixture.issue(Scope::Admin, None), fixture.issue(Scope::Admin, None));
    fixture.look().await;
    let (of_first, of_second) = (fixture.mint(first, "a").await, fixture.mint(second, "a").await);
    for credential in [&secret, &of_first, &of_second] {
        fixture.decide(credential).await.unwrap();
    }
    fixture.revoke(first);
    fixture.look().await;
    for credential in [&secret, &of_first] {
        fixture.expect_code(credential, "invalid-token").await;
    }
    fixture.decide(&of_second).await.unwrap();
}

/// A log that is restored from a copy gives numbers of keys again.
#[tokio::test(start_paused = true)]
async fn a_token_ends_when_the_number_of_its_key_is_that_of_one_that_mints_none() {
    let fixture = Fixture::new();
    let (key, _) = fixture.issue(Scope::Admin, None);
    fixture.look().await;
    let token = fixture.mint(key, "a").await;
    fixture.set(|state| state.keys[0].scopes = Scopes::new([Scope::Write]).unwrap());
    fixture.expect_code(&token, "invalid-token").await;
    fixture.set(|state| state.keys[0].scopes = Scopes::new([Scope::Read, Scope::Admin]).unwrap());
    fixture.decide(&token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn voiding_ends_earlier_tokens_of_a_user_and_no_later_ones() {
    let fixture = Fixture::new();
    let (key, _) = fixture.issue(Scope::Admin, None);
    fixture.look().await;
    let (earlier, other) = (fixture.mint(key, "a").await, fixture.mint(key, "b").await);
    fixture.decide(&earlier).await.unwrap();
    fixture.void("a");
    let later = fixture.mint(key, "a").await;
    fixture.look().await;
    fixture.expect_code(&earlier, "invalid-token").await;
    for credential in [&other, &later] {
        fixture.decide(credential).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_ends_with_its_time() {
    let fixture = Fixture::new();
    let (_, past) = fixture.issue(Scope::Read, Some(UnixMillis(1)));
    fixture.look().await;
    fixture.expect_code(&past, "token-expired").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_admitted_by_what_is_too_old() {
    let fixture = Fixture::new();
    let (_, secret) = fixture.issue(Scope::Read, None);
    fixture.look().await;
    fixture.decide(&secret).await.unwrap();
    // A projection that replays the log, or stands still.
    let stale = Fixture::new();
    stale.set(|state| state.age = MAX_AGE + Duration::from_secs(1));
    let (_, secret) = stale.issue(Scope::Read, None);
    stale.look().await;
    stale.expect_code(&secret, "access-behind").await;
}

#[tokio::test(start_paused = true)]
async fn known_credentials_go_on_while_keys_cannot_be_read() {
    let fixture = Fixture::new();
    let ((known, secret), (_, unknown)) = (fixture.issue(Scope::Read, None), fixture.issue(Scope::Read, None));
    fixture.look().await;
    fixture.decide(&secret).await.unwrap();
    fixture.trouble(Trouble::Unreachable);
    fixture.look().await;
    assert_eq!(fixture.decide(&secret).await.unwrap(), Principal::Key(known));
    fixture.expect_code(&unknown, "views-unavailable").await;
    fixture.expect_code("wrong", "invalid-token").await;
}

/// Whoever sends invented secrets displaces others that wait, and not those whose credentials are known.
#[tokio::test(start_paused = true)]
async fn a_flood_of_invented_secrets_keeps_no_known_key_out() {
    let fixture = Fixture::new();
    let (known, secret) = fixture.issue(Scope::Read, None);
    fixture.look().await;
    fixture.decide(&secret).await.unwrap();
    let place = Place { partition: PARTITION, offset: Offset(1_000) };
    let invented: Vec<_> = (0..=MAX_WAITS_OF_UNKNOWN).map(|_| Secret::generate().at(place).into_string()).collect();
    let flood = futures_util::future::join_all(invented.iter().map(|secret| fixture.decide(secret)));
    let (refused, admitted) = tokio::join!(flood, fixture.decide(&secret));
    assert_eq!(admitted.unwrap(), Principal::Key(known));
    assert!(refused.iter().any(|refused| matches!(refused, Err(Refusal::TooManyWaits))));
    assert!(refused.iter().all(|refused| matches!(refused, Err(Refusal::TooManyWaits | Refusal::Behind))));
}

/// A credential that is being decided about when its end arrives is not admitted.
#[tokio::test(start_paused = true)]
async fn what_is_revoked_while_its_credential_is_looked_up_is_refused() {
    for is_key in [true, false] {
        let fixture = Fixture::new();
        let (key, secret) = fixture.issue(Scope::Admin, None);
        let token = fixture.mint(key, "a").await;
        fixture.set(|state| state.age = MAX_AGE + Duration::from_secs(1));
        fixture.look().await;
        // The look-up finds it valid, and what is known is too old to admit it. With the news comes its end.
        let ending = async {
            tokio::time::sleep(WAIT / 4).await;
            if is_key {
                fixture.revoke(key);
            } else {
                fixture.void("a");
            }
            fixture.set(|state| state.age = Duration::ZERO);
            fixture.look().await;
        };
        let credential = if is_key { &secret } else { &token };
        let (decided, ()) = tokio::join!(fixture.decide(credential), ending);
        assert!(matches!(decided, Err(Refusal::CredentialInvalid)), "{decided:?}");
    }
}

/// Changes of others make it look again, and admit.
#[tokio::test(start_paused = true)]
async fn a_key_is_admitted_though_another_is_revoked_meanwhile() {
    let fixture = Fixture::new();
    let ((key, secret), (other, _)) = (fixture.issue(Scope::Read, None), fixture.issue(Scope::Read, None));
    fixture.set(|state| state.age = MAX_AGE + Duration::from_secs(1));
    fixture.look().await;
    let revoking = async {
        tokio::time::sleep(WAIT / 4).await;
        fixture.revoke(other);
        fixture.set(|state| state.age = Duration::ZERO);
        fixture.look().await;
    };
    let (decided, ()) = tokio::join!(fixture.decide(&secret), revoking);
    assert_eq!(decided.unwrap(), Principal::Key(key));
}

/// The place in a secret is no part of the key: all texts share what is remembered, so no holder fills the memory.
#[tokio::test(start_paused = true)]
async fn another_text_of_a_key_is_not_looked_up_again() {
    let fixture = Fixture::new();
    let (key, secret) = fixture.issue(Scope::Read, None);
    fixture.look().await;
    fixture.decide(&secret).await.unwrap();
    let look_ups = fixture.look_ups();
    let drawn = fixture.keys.state.lock().secrets[0];
    for offset in 100..110 {
        let text = drawn.at(Place { partition: PartitionId(9), offset: Offset(offset) }).into_string();
        assert_ne!(text, secret);
        assert_eq!(fixture.decide(&text).await.unwrap(), Principal::Key(key));
    }
    assert_eq!(fixture.look_ups(), look_ups);
}

#[tokio::test(start_paused = true)]
async fn few_look_ups_run_at_once() {
    let fixture = Fixture::new();
    let (key, secret) = fixture.issue(Scope::Read, None);
    fixture.look().await;
    fixture.set(|state| state.takes = Duration::from_millis(10));
    let place = Place { partition: PARTITION, offset: Offset(0) };
    let invented: Vec<_> = (0..100).map(|_| Secret::generate().at(place).into_string()).collect();
    let flood = futures_util::future::join_all(invented.iter().map(|secret| fixture.decide(secret)));
    let (refused, admitted) = tokio::join!(flood, fixture.decide(&secret));
    assert_eq!(admitted.unwrap(), Principal::Key(key), "it had its turn");
    assert!(refused.iter().all(|refused| matches!(refused, Err(Refusal::CredentialInvalid))));
    assert_eq!(fixture.keys.most_under_way.load(Ordering::SeqCst), MAX_LOOK_UPS);
}

/// Whoever waits with a known key until what is known is current again is not displaced by invented secrets.
#[tokio::test(start_paused = true)]
async fn a_flood_of_invented_secrets_displaces_no_wait_of_a_known_key() {
    let (fixture, key, secret) = Fixture::stale().await;
    let place = Place { partition: PARTITION, offset: Offset(1_000) };
    let invented: Vec<_> = (0..=MAX_WAITS_OF_KNOWN).map(|_| Secret::generate().at(place).into_string()).collect();
    let flood = futures_util::future::join_all(invented.iter().map(|secret| fixture.decide(secret)));
    let becoming_current = async {
        tokio::time::sleep(WAIT / 2).await;
        fixture.set(|state| state.age = Duration::ZERO);
        fixture.look().await;
    };
    let (admitted, _refused, ()) = tokio::join!(fixture.decide(&secret), flood, becoming_current);
    assert_eq!(admitted.unwrap(), Principal::Key(key));
}

#[tokio::test(start_paused = true)]
async fn a_decision_takes_no_longer_than_its_bound_however_many_steps_it_has() {
    let fixture = Fixture::new();
    let (_, secret) = fixture.issue(Scope::Read, None);
    let place = Place { partition: PARTITION, offset: Offset(1_000) };
    let invented = Secret::generate().at(place).into_string();
    for takes in [WAIT / 4 * 3, WAIT * 4] {
        fixture.set(|state| state.takes = takes);
        for credential in [&secret, &invented] {
            let began = Instant::now();
            fixture.decide(credential).await.unwrap_err();
            assert!(began.elapsed() <= WAIT + Duration::from_millis(1), "{:?}", began.elapsed());
        }
    }
}

/// Only a server that nobody reaches lets known credentials go on: one that is slow may have shown others a revocation.
#[tokio::test(start_paused = true)]
async fn a_slow_server_is_not_one_that_is_away() {
    let (fixture, key, secret) = Fixture::stale().await;
    fixture.trouble(Trouble::Slow);
    fixture.look().await;
    fixture.expect_code(&secret, "access-behind").await;
    fixture.trouble(Trouble::Unreachable);
    fixture.look().await;
    assert_eq!(fixture.decide(&secret).await.unwrap(), Principal::Key(key));
    fixture.trouble(Trouble::Slow);
    fixture.look().await;
    fixture.expect_code(&secret, "access-behind").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_without_end_is_not_one_that_is_away() {
    let (fixture, _, secret) = Fixture::stale().await;
    fixture.trouble(Trouble::Unreachable);
    fixture.look().await;
    fixture.decide(&secret).await.unwrap();
    fixture.set(|state| (state.trouble, state.has_more) = (None, true));
    fixture.look().await;
    fixture.expect_code(&secret, "access-behind").await;
}

/// Clocks may differ, but the key has ended for whoever has it.
#[tokio::test(start_paused = true)]
async fn a_token_does_not_outlive_the_key_that_minted_it() {
    let fixture = Fixture::new();
    let end = UnixMillis(UnixMillis::now().0 + 30_000);
    let (key, _) = fixture.issue(Scope::Admin, Some(end));
    fixture.look().await;
    let token = fixture.mint(key, "a").await;
    let deadline = Instant::now() + WAIT;
    let found = fixture.authority.inner().look_up(&*fixture.keys, &Credential::new(&token), deadline).await;
    assert_eq!(found.unwrap().expires_at, Some(end));
    fixture.set(|state| state.keys[0].expires_at = Some(UnixMillis(1)));
    fixture.expect_code(&token, "token-expired").await;
}

/// Whoever follows a stream is asked again what its request was asked.
#[tokio::test(start_paused = true)]
async fn who_was_admitted_goes_on_until_the_credential_ends() {
    let fixture = Fixture::new();
    let ((key, secret), (_, other)) = (fixture.issue(Scope::Admin, None), fixture.issue(Scope::Read, None));
    fixture.look().await;
    let minted = fixture.mint(key, "a").await;
    let mut admissions = Vec::new();
    for credential in [&secret, &minted, &other] {
        let principal = fixture.decide(credential).await.unwrap();
        let value = format!("Bearer {credential}").parse().unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        admissions.push(fixture.authority.admission_of(principal, &headers));
    }
    let look_ups = fixture.look_ups();
    for admission in &admissions {
        admission.check().await.unwrap();
    }
    assert_eq!(fixture.look_ups(), look_ups, "that asks no database");
    fixture.revoke(key);
    fixture.look().await;
    for admission in &admissions[..2] {
        let refused = admission.check().await;
        assert!(matches!(refused, Err(Refusal::CredentialInvalid)), "{refused:?}");
    }
    admissions[2].check().await.unwrap();
    let nobody = Authority::open().admission_of(Principal::Anonymous, &HeaderMap::new());
    nobody.check().await.unwrap();
}

/// A check holds until the next one. So it must know more than a request, which is answered at once.
#[tokio::test(start_paused = true)]
async fn who_goes_on_is_not_checked_by_what_admits_a_request() {
    let fixture = Fixture::new();
    let (_, secret) = fixture.issue(Scope::Read, None);
    fixture.set(|state| state.age = MAX_AGE - CHECK_INTERVAL / 2);
    fixture.look().await;
    let principal = fixture.decide(&secret).await.unwrap();
    let value = format!("Bearer {secret}").parse().unwrap();
    let admission = fixture.authority.admission_of(principal, &HeaderMap::from_iter([(AUTHORIZATION, value)]));
    let refused = admission.check().await;
    assert!(matches!(refused, Err(Refusal::Behind)), "{refused:?}");
    let becoming_current = async {
        tokio::time::sleep(WAIT / 2).await;
        fixture.set(|state| state.age = Duration::ZERO);
        fixture.look().await;
    };
    let (checked, ()) = tokio::join!(admission.check(), becoming_current);
    checked.unwrap();
}
