//! Lists from etcd, page by page, and what their options mean.

use std::sync::Arc;

use crate::storage::cacher::list::List;
use crate::storage::continue_token::{decode_continue, encode_continue};
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::etcd3::client::EtcdError;
use crate::storage::etcd3::store::{Store, signed};
use crate::storage::key::{Key, Scope, prefix_end};
use crate::storage::options::{ListOptions, Predicate, ResourceVersionMatch};
use crate::storage::resource::parse_resource_version;
use crate::traces::trace;

/// Most objects per request.
const MAX_PAGE: i64 = 10_000;

impl Store {
    /// Upstream's GetList on etcd.
    pub(crate) async fn list(
        &self,
        scope: &Scope,
        options: &ListOptions,
        predicate: Arc<dyn Predicate>,
    ) -> Result<List, Error> {
        let name = match scope.recursive {
            true => "List(recursive=true) etcd3",
            false => "List(recursive=false) etcd3",
        };
        let _span = trace::begin_in_storage(name, |fields| {
            let version_match = match options.resource_version_match {
                Some(ResourceVersionMatch::Exact) => "Exact",
                Some(ResourceVersionMatch::NotOlderThan) => "NotOlderThan",
                None => "",
            };
            fields
                .text("key", self.keys.shown(&scope.prefix, &self.config.prefix))
                .text("resourceVersion", options.resource_version.as_str())
                .text("resourceVersionMatch", version_match)
                .number("limit", usize::try_from(options.limit).unwrap_or(0))
                .text("continue", options.continue_token.as_str());
        });
        let (mut revision, continue_key) = validate_list_options(scope, options)?;
        let paging = options.limit > 0;
        let mut page_size = if paging {
            options.limit.min(MAX_PAGE)
        } else {
            MAX_PAGE
        };
        let mut start = continue_key.unwrap_or_else(|| scope.prefix.to_string());
        let end = prefix_end(scope.prefix.as_bytes());
        let mut items: Vec<Arc<Entry>> = Vec::new();
        let mut last_key = String::new();
        let (mut fetched, mut evaluated) = (0_u64, 0_u64);
        self.metrics.list_total().inc();
        let (has_more, count) = loop {
            let page = if scope.recursive {
                self.range(&start, &end, page_size, revision, false).await
            } else {
                self.range_one(&Key(Arc::clone(&scope.prefix)), revision)
                    .await
            };
            let page = match page {
                Ok(page) => page,
                Err(EtcdError::FutureRevision) => {
                    let current = self.revisions.current().await.unwrap_or(0);
                    return Err(Error::TooLargeResourceVersion {
                        requested: revision,
                        current,
                        retry_after_seconds: 0,
                    });
                }
                Err(EtcdError::Compacted) => return Err(compacted_error(scope, options, &start)),
                Err(error) => return Err(error.into_read_error(&format!("list {}", scope.prefix))),
            };
            fetched += page.items.len() as u64;
            check_minimum_version(&options.resource_version, page.revision)?;
            if revision == 0 {
                revision = page.revision;
            }
            let mut has_more = (page.items.len() as i64) < page.count;
            if page.items.is_empty() && has_more {
                return Err(Error::internal(
                    "no results were found, but etcd indicated there were more values remaining",
                ));
            }
            for raw in page.items {
                if paging && items.len() as i64 >= options.limit {
                    has_more = true;
                    break;
                }
                last_key.clone_from(&raw.key);
                let entry = Arc::new(self.entry(raw)?);
                if predicate.matches(&entry) {
                    items.push(entry);
                }
                evaluated += 1;
            }
            start = format!("{last_key}\0");
            if !has_more || !scope.recursive || (paging && items.len() as i64 >= options.limit) {
                break (has_more && paging, page.count);
            }
            // The selector dropped objects: fewer, larger requests for the rest.
            page_size = (page_size * 2).min(MAX_PAGE);
        };
        self.metrics.list_fetched().inc_by(fetched as f64);
        self.metrics.list_evaluated().inc_by(evaluated as f64);
        self.metrics.list_returned().inc_by(items.len() as f64);
        let (continue_token, remaining) = if has_more {
            let token = encode_continue(&start, &scope.prefix, signed(revision))?;
            (
                token,
                predicate.is_everything().then(|| count - options.limit),
            )
        } else {
            (String::new(), None)
        };
        Ok(List::from_items(items, revision, continue_token, remaining))
    }
}

/// Upstream's ValidateListOptions: the revision to read at (0: newest) and the key to start from.
pub(crate) fn validate_list_options(
    scope: &Scope,
    options: &ListOptions,
) -> Result<(u64, Option<String>), Error> {
    if scope.recursive && !options.continue_token.is_empty() {
        let (key, revision) = decode_continue(&options.continue_token, &scope.prefix)?;
        if !matches!(options.resource_version.as_str(), "" | "0") {
            return Err(Error::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return Ok((u64::try_from(revision).unwrap_or(0), Some(key)));
    }
    if options.resource_version.is_empty() {
        return Ok((0, None));
    }
    let version = parse_resource_version(&options.resource_version)
        .map_err(|error| Error::bad_request(format!("invalid resource version: {error}")))?;
    let exact = match options.resource_version_match {
        Some(ResourceVersionMatch::NotOlderThan) => false,
        Some(ResourceVersionMatch::Exact) => true,
        None => scope.recursive && options.limit > 0 && version > 0,
    };
    Ok((if exact { version } else { 0 }, None))
}

/// Upstream's validateMinimumResourceVersion.
pub(crate) fn check_minimum_version(minimum: &str, actual: u64) -> Result<(), Error> {
    if minimum.is_empty() {
        return Ok(());
    }
    let requested = parse_resource_version(minimum)
        .map_err(|error| Error::bad_request(format!("invalid resource version: {error}")))?;
    if requested > actual {
        return Err(Error::TooLargeResourceVersion {
            requested,
            current: actual,
            retry_after_seconds: 0,
        });
    }
    Ok(())
}

fn compacted_error(scope: &Scope, options: &ListOptions, start: &str) -> Error {
    if options.continue_token.is_empty() {
        return Error::expired("The resourceVersion for the provided list is too old.");
    }
    // Revision -1 lets the client go on at the newest revision, knowing that the list is then inconsistent.
    match encode_continue(start, &scope.prefix, -1) {
        Ok(token) => Error::Expired {
            message: "The provided continue parameter is too old to display a consistent list result. You can start a new \
                      list without the continue parameter, or use the continue token in this response to retrieve the \
                      remainder of the results. Continuing with the provided token results in an inconsistent list - \
                      objects that were created, modified, or deleted between the time the first chunk was returned and \
                      now may show up in the list."
                .to_owned(),
            continue_token: Some(token),
        },
        Err(_) => Error::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter.",
        ),
    }
}
