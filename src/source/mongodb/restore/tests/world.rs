//! A server of its own for each test, and dumps to restore into it.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use futures_util::TryStreamExt;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

use super::super::*;
use crate::source::mongodb::{
    format::{metadata::Metadata, names::file_stem},
    testing::TestServer,
};

/// The files below a directory.
pub struct Folder(pub PathBuf);

impl Files for Folder {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        let mut list = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_owned();
                    list.push((name, path.metadata().unwrap().len()));
                }
            }
        }
        Ok(list)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        std::fs::read(self.0.join(path)).map_err(|error| Error::from_io(format!("cannot read {path}"), error))
    }

    fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64> {
        let failed = |error| Error::from_io(format!("cannot copy {path}"), error);
        let mut file = std::fs::File::open(self.0.join(path)).map_err(failed)?;
        std::io::copy(&mut file, target).map_err(failed)
    }
}

/// A server of its own for one test.
pub struct World(pub TestServer);

impl World {
    /// Nothing if no server is named.
    pub fn start() -> Option<Self> {
        TestServer::start(&[]).map(Self)
    }

    pub fn target(&self, database: &str) -> Target {
        parse_url(&format!("mongodb://127.0.0.1:{}/{database}?heartbeatFrequencyMS=500", self.0.port))
            .unwrap()
    }

    pub fn restore(&self, files: &dyn Files, database: &str, options: &Options) -> Result<Restored> {
        let manifest = Manifest::begin("mongo", "golden", "mongodb");
        restore(&manifest, files, &self.target(database), options, &Cancel::new(), &|_| {})
    }

    fn deployment(&self) -> Deployment {
        Deployment::connect(&self.target("x").params, &Cancel::new()).unwrap()
    }

    pub fn admin(&self, command: mongodb::bson::Document) {
        let deployment = self.deployment();
        let admin = deployment.client.database("admin");
        deployment.ask(&Cancel::new(), async { admin.run_command(command).await }).unwrap();
    }

    /// All files of a dump of a database but `uuid`, by path.
    pub fn dump(&self, database: &str) -> Vec<(String, Vec<u8>)> {
        let deployment = self.deployment();
        let cancel = Cancel::new();
        let server = Server { deployment, database, cancel: &cancel };
        let mut files = Vec::new();
        for listed in server.documents(rawdoc! { "listCollections": 1, "cursor": {} }).unwrap() {
            let collection = listed.get_str("name").unwrap().to_owned();
            if collection.starts_with("system.") {
                continue;
            }
            let kind = listed.get_str("type").unwrap().to_owned();
            let mut metadata = Metadata::named(collection.clone());
            metadata.options = listed.get_document("options").unwrap().to_owned();
            let path = |end: &str| format!("golden/{}.{end}", file_stem(&collection));
            if kind != "view" {
                metadata.indexes =
                    server.documents(rawdoc! { "listIndexes": collection.as_str(), "cursor": {} }).unwrap();
                files.push((path("bson"), self.data(&server, &collection)));
            }
            metadata.kind = Some(kind);
            files.push((path("metadata.json"), metadata.to_json().unwrap()));
        }
        files.sort();
        files
    }

    fn data(&self, server: &Server<'_>, collection: &str) -> Vec<u8> {
        let found =
            server.deployment.client.database(server.database).collection::<RawDocumentBuf>(collection);
        let find = async { found.find(doc! {}).await?.try_collect::<Vec<_>>().await };
        let found = server.deployment.ask(server.cancel, find).unwrap();
        found.iter().flat_map(|document| document.as_bytes().to_vec()).collect()
    }
}

/// The files of a directory as [`World::dump`] gives them.
pub fn expected(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = Folder(folder.to_owned());
    let mut expected = Vec::new();
    for (path, _) in files.list().unwrap() {
        let content = files.read(&path).unwrap();
        if path.ends_with(".metadata.json") {
            let mut metadata = Metadata::from_json(&content).unwrap();
            metadata.uuid = None;
            expected.push((path, metadata.to_json().unwrap()));
        } else if path.ends_with(".bson") {
            expected.push((path, content));
        }
    }
    expected.sort();
    expected
}

/// A dump of one collection.
pub fn dump_of(metadata: &Metadata, documents: &[RawDocumentBuf]) -> (tempfile::TempDir, Folder) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("golden");
    std::fs::create_dir(&place).unwrap();
    let stem = file_stem(&metadata.collection);
    std::fs::write(place.join(format!("{stem}.metadata.json")), metadata.to_json().unwrap()).unwrap();
    let data: Vec<u8> = documents.iter().flat_map(|document| document.as_bytes().to_vec()).collect();
    std::fs::write(place.join(format!("{stem}.bson")), data).unwrap();
    let files = Folder(folder.path().to_owned());
    (folder, files)
}
