//! The HTTP API of a running server.

use std::io::{self, Write};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use millrace_service::access::KeyToken;
use serde_json::Value;
use url::Url;

use super::{ClientError, Problem};
use crate::cli::{PageArgs, ServerArgs};

/// Longer than the server takes for anything it was not asked to wait for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, and how to ask it.
pub struct Server {
    base: Url,
    http: reqwest::Client,
    /// Whether an API key goes with each request.
    has_key: bool,
}

/// An answer: its JSON, and the text that it was.
pub struct Answer {
    pub text: String,
    pub json: Value,
}

impl Server {
    pub fn new(args: &ServerArgs) -> Result<Self, ClientError> {
        let key = args.api_key.as_ref().map(|key| key.expose().as_str());
        // A variable that is set to nothing says as much as none.
        let key = key.filter(|key| !key.is_empty()).map(bearer).transpose()?;
        let has_key = key.is_some();
        let (http, mut base) = Self::client("--server", &args.server, key)?;
        // Paths are joined below it, also when it stands behind a prefix.
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            base,
            http,
            has_key,
        })
    }

    /// What asks `address`, the value of `flag`, with `authorization` if there
    /// is one.
    pub fn client(
        flag: &str,
        address: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<(reqwest::Client, Url), ClientError> {
        let usage = |reason: &str| ClientError::Usage(format!("{flag} {address}: {reason}"));
        let url: Url = address
            .parse()
            .map_err(|error: url::ParseError| usage(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(usage("only http and https are spoken"));
        }
        // Installed by nobody else in this process, which ends after one verb.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
            .default_headers(
                authorization
                    .map(|value| (header::AUTHORIZATION, value))
                    .into_iter()
                    .collect::<HeaderMap>(),
            )
            .connect_timeout(Duration::from_secs(5));
        if is_local(&url) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| usage(&innermost(&error)))?;
        Ok((http, url))
    }

    /// The address of `path` on this server.
    pub fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Answer, ClientError> {
        self.ask(Method::GET, self.with_query(path, query), None, PATIENCE)
            .await
    }

    /// Posts `body`, which is JSON text or nothing; `wait` is what the server was asked
    /// to wait on top.
    pub async fn post(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: String,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        self.ask(
            Method::POST,
            self.with_query(path, query),
            Some(body),
            PATIENCE + wait,
        )
        .await
    }

    /// The same with a merge patch.
    pub async fn patch(
        &self,
        path: &[&str],
        body: String,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        let url = self.url(path);
        self.ask(Method::PATCH, url, Some(body), PATIENCE + wait)
            .await
    }

    pub async fn delete(&self, path: &[&str]) -> Result<Answer, ClientError> {
        self.ask(Method::DELETE, self.url(path), None, PATIENCE)
            .await
    }

    /// Begins to read server-sent events, without a limit of time.
    pub async fn stream(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Stream, ClientError> {
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            server: self.base.to_string(),
            reason: innermost(&error),
        };
        let response = self
            .http
            .get(self.with_query(path, query))
            .header(
                header::ACCEPT,
                "text/event-stream, application/problem+json",
            )
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            let bytes = response.bytes().await.map_err(unreachable)?;
            return Err(self.refused(status, &bytes));
        }
        Ok(Stream {
            response,
            read: Vec::new(),
        })
    }

    /// A page of the list at `path`.
    pub async fn list(
        &self,
        path: &[&str],
        filter: &[(&str, &str)],
        page: &PageArgs,
    ) -> Result<Answer, ClientError> {
        let limit = page.limit.to_string();
        let mut query = filter.to_vec();
        query.push(("limit", &limit));
        query.extend(page.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        self.get(path, &query).await
    }

    /// The id of the deployment that has this name, or this id.
    pub async fn deployment_id(&self, name: &str) -> Result<String, ClientError> {
        if name.parse::<millrace_types::DeploymentId>().is_ok() {
            return Ok(name.to_owned());
        }
        let answer = self.get(&["api", "deployments"], &[("name", name)]).await?;
        let ids: Vec<&str> = answer
            .items()
            .iter()
            .filter(|item| item["name"] == name)
            .filter_map(|item| item["id"].as_str())
            .collect();
        match ids.as_slice() {
            [] => Err(ClientError::NoSuchDeployment(name.to_owned())),
            [id] => Ok((*id).to_owned()),
            _ => Err(ClientError::Ambiguous {
                name: name.to_owned(),
                ids: ids.join(", "),
            }),
        }
    }

    /// Reads the events at `path` for as long as they come, and hands the data
    /// of each to `take`.
    pub async fn follow(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        mut take: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        let url = self.with_query(path, query);
        let mut response = self.send(Method::GET, url, None, None).await?;
        let status = response.status();
        if !status.is_success() {
            let bytes = response.bytes().await;
            let bytes = bytes.map_err(|error| self.unreachable(&error))?;
            return Err(self.refused(status, &bytes));
        }
        let mut rest: Vec<u8> = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| self.unreachable(&error))? else {
                return Ok(());
            };
            rest.extend_from_slice(&chunk);
            // Each event's data is one line of JSON.
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                if let Some(data) = line.strip_prefix("data:") {
                    take(data.trim())?;
                }
            }
        }
    }

    /// The id of the project that has this key, or this id.
    pub async fn project_id(&self, name: &str) -> Result<String, ClientError> {
        if name.parse::<millrace_types::ProjectId>().is_ok() {
            return Ok(name.to_owned());
        }
        self.find(&["api", "projects"], &[], |item| item["key"] == name)
            .await?
            .ok_or_else(|| ClientError::NoSuchProject(name.to_owned()))
    }

    /// The id of the workload of `KEY/service`, or that has this id.
    pub async fn workload_id(&self, name: &str) -> Result<String, ClientError> {
        if name.parse::<millrace_types::WorkloadId>().is_ok() {
            return Ok(name.to_owned());
        }
        let Some((project, service)) = name.split_once('/') else {
            return Err(ClientError::Usage(format!(
                "`{name}` is neither a workload's id nor PROJECT/SERVICE"
            )));
        };
        let project_id = self.project_id(project).await?;
        let filter = [("projectId", project_id.as_str())];
        self.find(&["api", "workloads"], &filter, |item| {
            item["service"] == service
        })
        .await?
        .ok_or_else(|| ClientError::NoSuchWorkload(name.to_owned()))
    }

    /// The id of the first item of a list that is wanted.
    async fn find(
        &self,
        path: &[&str],
        filter: &[(&str, &str)],
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Option<String>, ClientError> {
        let mut cursor = None::<String>;
        loop {
            let page = PageArgs {
                limit: 1000,
                cursor: cursor.take(),
            };
            let answer = self.list(path, filter, &page).await?;
            let found = answer.items().iter().find(|item| wanted(item));
            if let Some(id) = found.and_then(|item| item["id"].as_str()) {
                return Ok(Some(id.to_owned()));
            }
            match answer.json["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(None),
            }
        }
    }

    fn with_query(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
        patience: Duration,
    ) -> Result<Answer, ClientError> {
        let response = self.send(method, url, body, Some(patience)).await?;
        let status = response.status();
        let bytes = response.bytes().await;
        let bytes = bytes.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(self.refused(status, &bytes));
        }
        let foreign = |reason: String| ClientError::Foreign {
            server: self.base.to_string(),
            reason,
        };
        let text = String::from_utf8(bytes.into()).map_err(|error| foreign(error.to_string()))?;
        let json = if status == StatusCode::NO_CONTENT {
            Value::Null
        } else {
            serde_json::from_str(&text).map_err(|error| foreign(error.to_string()))?
        };
        Ok(Answer { text, json })
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
        patience: Option<Duration>,
    ) -> Result<reqwest::Response, ClientError> {
        let mut request = self
            .http
            .request(method, url)
            .header(header::ACCEPT, "application/json, application/problem+json");
        if let Some(patience) = patience {
            request = request.timeout(patience);
        }
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body);
        }
        request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))
    }

    /// What the server says, and where it concerns the key, what to do.
    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let problem = Problem::parse(status, body);
        ClientError::Refused(match (status, self.has_key) {
            (StatusCode::UNAUTHORIZED, false) => problem.with_hint(
                "Show an API key, in MILLRACE_API_KEY or with --api-key. Whoever runs the service \
                 makes one with `millrace keys create`.",
            ),
            (StatusCode::UNAUTHORIZED, true) => problem.with_hint(
                "The server does not know the API key in MILLRACE_API_KEY or --api-key, or it has \
                 expired or been revoked: `millrace keys list` shows which, \
                 `millrace keys create` makes another.",
            ),
            (StatusCode::FORBIDDEN, true) => problem.with_hint(
                "The role of this API key does not reach so far; `millrace keys create --role …` \
                 makes one with another.",
            ),
            _ => problem,
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            server: self.base.to_string(),
            reason: innermost(error),
        }
    }
}

/// Lines as they arrive.
pub struct Stream {
    response: reqwest::Response,
    read: Vec<u8>,
}

impl Stream {
    /// The next line without its end; `None` when there is none any more.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=at).collect();
                let line = String::from_utf8_lossy(&line);
                return Some(line.trim_end_matches(['\r', '\n']).to_owned());
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.read.extend_from_slice(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Answer {
    /// As it came; nothing when it had no body.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self.text.trim_end() {
            "" => Ok(()),
            text => writeln!(out, "{text}"),
        }
    }

    /// The members of a list.
    pub fn items(&self) -> &[Value] {
        self.json["items"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Says on standard error how to go on, when there is more.
    pub fn hint_at_more(&self) {
        if let Some(next) = self.json["next"].as_str() {
            eprintln!("there are more: --cursor {next}");
        }
    }
}

/// `key` as a header; it is never shown.
fn bearer(key: &str) -> Result<HeaderValue, ClientError> {
    KeyToken::parse(key)
        .ok()
        .and_then(|_| HeaderValue::try_from(format!("Bearer {key}")).ok())
        .map(|mut value| {
            value.set_sensitive(true);
            value
        })
        .ok_or_else(|| {
            ClientError::Usage(
                "what --api-key or MILLRACE_API_KEY holds is not an API key: those start with \
                 mlr_, and `millrace keys create` prints them whole"
                    .to_owned(),
            )
        })
}

/// A proxy cannot reach this machine's own addresses.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The outer errors of HTTP libraries say only that something went wrong.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
