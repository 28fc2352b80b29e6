//! What was allowed a moment ago. Upstream: endpoints/filters/impersonation/cache.go.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use component_base::auth::{Attributes, UserInfo};
use parking_lot::Mutex;

/// As long as a valid token is remembered.
const TTL: Duration = Duration::from_secs(10);
/// Above this many entries, those that ended are dropped; a full cache is emptied.
const LIMIT: usize = 8192;
/// So many callers are remembered with the mode they used.
const CALLERS: usize = 10_000;

/// The mode in which each caller was last allowed to impersonate. Callers are known by a hash: two that share one only make
/// each other's modes tried in another order.
#[derive(Default)]
pub(super) struct LastModes {
    hasher: RandomState,
    modes: Mutex<HashMap<u64, usize>>,
}

impl LastModes {
    pub(super) fn get(&self, caller: &str) -> Option<usize> {
        self.modes
            .lock()
            .get(&self.hasher.hash_one(caller))
            .copied()
    }

    pub(super) fn set(&self, caller: &str, mode: usize) {
        let mut modes = self.modes.lock();
        if modes.len() >= CALLERS {
            modes.clear();
        }
        modes.insert(self.hasher.hash_one(caller), mode);
    }
}

/// Users by what was asked. Refusals are not kept.
#[derive(Default)]
pub(super) struct Allowed(Mutex<HashMap<Key, (Arc<UserInfo>, Instant)>>);

pub(super) type Key = [u8; 32];

impl Allowed {
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Arc<UserInfo>> {
        let allowed = self.0.lock();
        let (user, until) = allowed.get(key)?;
        (*until > now).then(|| user.clone())
    }

    pub(super) fn set(&self, key: Key, user: Arc<UserInfo>, now: Instant) {
        let mut allowed = self.0.lock();
        if allowed.len() >= LIMIT {
            allowed.retain(|_, (_, until)| *until > now);
            if allowed.len() >= LIMIT {
                allowed.clear();
            }
        }
        allowed.insert(key, (user, now + TTL));
    }
}

/// The hash of a question: this caller, for this request, wants to be that user.
pub(super) fn key(wanted: &UserInfo, attributes: &Attributes) -> Key {
    let mut hash = Hash(digest::Context::new(&digest::SHA256));
    hash.user(wanted);
    // A field that is added to the attributes belongs into the hash.
    let Attributes {
        user,
        verb,
        namespace,
        api_group,
        api_version,
        resource,
        subresource,
        name,
        resource_request,
        path,
        field_selector,
        label_selector,
    } = attributes;
    hash.user(user);
    for text in [
        verb,
        namespace,
        api_group,
        api_version,
        resource,
        subresource,
        name,
        path,
    ] {
        hash.text(text);
    }
    hash.length(field_selector.len());
    for requirement in field_selector {
        hash.text(&requirement.field);
        hash.text(&requirement.operator.to_string());
        hash.text(&requirement.value);
    }
    hash.length(label_selector.len());
    for requirement in label_selector {
        hash.text(requirement.key());
        hash.text(&format!("{:?}", requirement.operator()));
        hash.list(requirement.values());
    }
    hash.0.update(&[u8::from(*resource_request)]);
    let mut key = [0; 32];
    key.copy_from_slice(hash.0.finish().as_ref());
    key
}

/// Every text and list goes in with its length, so that no two questions read alike.
struct Hash(digest::Context);

impl Hash {
    fn length(&mut self, length: usize) {
        self.0.update(&(length as u64).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.update(text.as_bytes());
    }

    fn list(&mut self, items: &[String]) {
        self.length(items.len());
        for item in items {
            self.text(item);
        }
    }

    fn user(&mut self, user: &UserInfo) {
        let UserInfo {
            name,
            uid,
            groups,
            extra,
        } = user;
        self.text(name);
        self.text(uid);
        self.list(groups);
        self.length(extra.len());
        for (key, values) in extra {
            self.text(key);
            self.list(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn users_are_remembered_for_ten_seconds() {
        let allowed = Allowed::default();
        let (now, user) = (Instant::now(), Arc::new(UserInfo::default()));
        let key = key(&user, &Attributes::default());
        allowed.set(key, user.clone(), now);
        assert_eq!(allowed.get(&key, now + Duration::from_secs(9)), Some(user));
        assert_eq!(allowed.get(&key, now + TTL), None);
        assert_eq!(allowed.get(&[0; 32], now), None);
    }

    fn text() -> impl Strategy<Value = String> {
        "[ab]{0,2}"
    }

    fn user() -> impl Strategy<Value = UserInfo> {
        let list = || proptest::collection::vec(text(), 0..3);
        let extra = proptest::collection::btree_map(text(), list(), 0..2);
        (text(), text(), list(), extra).prop_map(|(name, uid, groups, extra)| UserInfo {
            name,
            uid,
            groups,
            extra,
        })
    }

    fn question() -> impl Strategy<Value = (UserInfo, Attributes)> {
        let texts = [(); 4].map(|()| text());
        (user(), user(), texts, any::<bool>()).prop_map(
            |(wanted, user, [verb, namespace, name, path], resource_request)| {
                let attributes = Attributes {
                    user,
                    verb,
                    namespace,
                    name,
                    path,
                    resource_request,
                    ..Attributes::default()
                };
                (wanted, attributes)
            },
        )
    }

    proptest! {
        #[test]
        fn other_questions_have_other_keys(a in question(), b in question()) {
            prop_assert_eq!(a == b, key(&a.0, &a.1) == key(&b.0, &b.1));
        }
    }
}
