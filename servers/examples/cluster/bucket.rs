//! The bucket that the environment names.

use std::env;
use std::error::Error;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use reqwest::Url;

/// Opens `s3://bucket`, `az://container` or `gs://bucket`, each with or without a folder after it,
/// or `bucket`, which is on S3. The account and address are in the variables of the services' own
/// tools, which begin with `AWS_`, `AZURE_` or `GOOGLE_`. If there are several endpoints, separated
/// by commas, each node gets one.
pub(crate) fn open(
    bucket: &str,
    node: usize,
) -> Result<Arc<dyn ObjectStore>, Box<dyn Error + Send + Sync>> {
    let scheme = if bucket.contains("://") { "" } else { "s3://" };
    let url = Url::parse(&format!("{scheme}{bucket}"))?;
    let named = |name: &str| ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|of| name.starts_with(of));
    let mut settings: Vec<_> = env::vars().filter(|(name, _)| named(name)).collect();
    let mut plain = false;
    for (_, endpoints) in settings.iter_mut().filter(|(name, _)| ENDPOINTS.contains(&name.as_str()))
    {
        let all: Vec<_> = endpoints.split(',').map(str::trim).collect();
        *endpoints = all[node % all.len()].to_owned();
        plain |= endpoints.starts_with("http://");
    }
    if plain {
        // No certificates are needed there, and the system may have none.
        for name in ["allow_http", "disable_system_certificates"] {
            settings.push((name.to_owned(), "true".to_owned()));
        }
    }
    let (store, folder) = object_store::parse_url_opts(&url, settings)?;
    Ok(Arc::new(PrefixStore::new(store, folder)))
}

const ENDPOINTS: [&str; 5] = [
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
];
