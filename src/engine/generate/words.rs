//! The words that generated rows are made of. Lists only grow at their end, and only with a new minor version:
//! what a seed number gives follows from their order.

/// First names.
pub const FIRST: [&str; 64] = [
    "Ada", "Alba", "Amara", "Ana", "Anton", "Arjun", "Aylin", "Bao", "Bruno", "Camila", "Carlos", "Chiara", "Chen",
    "Clara", "Daniel", "Diego", "Elena", "Elif", "Emil", "Emma", "Fatima", "Felix", "Finn", "Freya", "Gabriel",
    "Grace", "Hana", "Hugo", "Ibrahim", "Ines", "Ingrid", "Ivan", "Jana", "Jonas", "Julia", "Kenji", "Lara", "Leila",
    "Leo", "Lina", "Lucas", "Luisa", "Marco", "Maria", "Maya", "Mei", "Milan", "Mira", "Nadia", "Nina", "Noah", "Olga",
    "Omar", "Oscar", "Paula", "Pedro", "Priya", "Rafael", "Rosa", "Samir", "Sofia", "Tariq", "Vera", "Yuki",
];

/// Last names.
pub const LAST: [&str; 64] = [
    "Adeyemi", "Almeida", "Andersen", "Baker", "Bauer", "Becker", "Berg", "Bianchi", "Castro", "Chen", "Costa", "Cruz",
    "Dubois", "Duran", "Eriksen", "Fischer", "Fontaine", "Garcia", "Gomez", "Gupta", "Haddad", "Hansen", "Hoffmann",
    "Ibrahim", "Ito", "Ivanova", "Jansen", "Kaya", "Keller", "Khan", "Kim", "Klein", "Kovacs", "Kumar", "Larsen",
    "Lee", "Lopez", "Marino", "Martin", "Mendes", "Meyer", "Moreau", "Moreno", "Nakamura", "Nguyen", "Novak", "Okafor",
    "Olsen", "Patel", "Pereira", "Petrov", "Ricci", "Rossi", "Sato", "Schmidt", "Silva", "Singh", "Sousa", "Tanaka",
    "Torres", "Vargas", "Wagner", "Weber", "Wong",
];

/// First words of companies.
pub const COMPANY: [&str; 40] = [
    "Acorn",
    "Alder",
    "Amber",
    "Apex",
    "Aurora",
    "Beacon",
    "Birch",
    "Blue Harbor",
    "Bright",
    "Cedar",
    "Cobalt",
    "Copper",
    "Delta",
    "Ember",
    "Evergreen",
    "Falcon",
    "Fjord",
    "Granite",
    "Harbor",
    "Horizon",
    "Iris",
    "Juniper",
    "Kestrel",
    "Lark",
    "Lumen",
    "Maple",
    "Meridian",
    "Mistral",
    "North Star",
    "Oakwood",
    "Onyx",
    "Orchard",
    "Pioneer",
    "Quartz",
    "Redwood",
    "River",
    "Sierra",
    "Summit",
    "Tandem",
    "Willow",
];

/// Last words of companies.
pub const COMPANY_END: [&str; 16] = [
    "Labs",
    "Systems",
    "Foods",
    "Logistics",
    "Studio",
    "Works",
    "Partners",
    "Energy",
    "Health",
    "Media",
    "Software",
    "Trading",
    "Design",
    "Robotics",
    "Travel",
    "Group",
];

/// Cities with the code and the name of their country and their time zone.
pub const CITY: [(&str, &str, &str, &str); 32] = [
    ("Lisbon", "PT", "Portugal", "Europe/Lisbon"),
    ("Porto", "PT", "Portugal", "Europe/Lisbon"),
    ("Madrid", "ES", "Spain", "Europe/Madrid"),
    ("Valencia", "ES", "Spain", "Europe/Madrid"),
    ("Paris", "FR", "France", "Europe/Paris"),
    ("Lyon", "FR", "France", "Europe/Paris"),
    ("Berlin", "DE", "Germany", "Europe/Berlin"),
    ("Hamburg", "DE", "Germany", "Europe/Berlin"),
    ("Vienna", "AT", "Austria", "Europe/Vienna"),
    ("Zurich", "CH", "Switzerland", "Europe/Zurich"),
    ("Milan", "IT", "Italy", "Europe/Rome"),
    ("Amsterdam", "NL", "Netherlands", "Europe/Amsterdam"),
    ("Copenhagen", "DK", "Denmark", "Europe/Copenhagen"),
    ("Oslo", "NO", "Norway", "Europe/Oslo"),
    ("Stockholm", "SE", "Sweden", "Europe/Stockholm"),
    ("Helsinki", "FI", "Finland", "Europe/Helsinki"),
    ("Warsaw", "PL", "Poland", "Europe/Warsaw"),
    ("Prague", "CZ", "Czechia", "Europe/Prague"),
    ("Istanbul", "TR", "Turkey", "Europe/Istanbul"),
    ("Cairo", "EG", "Egypt", "Africa/Cairo"),
    ("Lagos", "NG", "Nigeria", "Africa/Lagos"),
    ("Nairobi", "KE", "Kenya", "Africa/Nairobi"),
    ("Mumbai", "IN", "India", "Asia/Kolkata"),
    ("Singapore", "SG", "Singapore", "Asia/Singapore"),
    ("Tokyo", "JP", "Japan", "Asia/Tokyo"),
    ("Osaka", "JP", "Japan", "Asia/Tokyo"),
    ("Sydney", "AU", "Australia", "Australia/Sydney"),
    ("Toronto", "CA", "Canada", "America/Toronto"),
    ("Boston", "US", "United States", "America/New_York"),
    ("Denver", "US", "United States", "America/Denver"),
    ("Mexico City", "MX", "Mexico", "America/Mexico_City"),
    ("Sao Paulo", "BR", "Brazil", "America/Sao_Paulo"),
];

/// Regions.
pub const REGION: [&str; 12] = [
    "North",
    "South",
    "East",
    "West",
    "Coast",
    "Highlands",
    "Lakes",
    "Valley",
    "Islands",
    "Plains",
    "Capital",
    "Border",
];

/// Names of streets.
pub const STREET: [&str; 16] = [
    "Oak Street",
    "Mill Lane",
    "Station Road",
    "Garden Street",
    "Church Road",
    "Bridge Street",
    "Park Avenue",
    "Harbor Road",
    "School Lane",
    "River Street",
    "King Street",
    "Market Square",
    "Forest Road",
    "Hill Street",
    "Lake Road",
    "Sunset Avenue",
];

/// Currencies.
pub const CURRENCY: [&str; 12] = ["EUR", "USD", "GBP", "CHF", "SEK", "NOK", "DKK", "PLN", "JPY", "BRL", "INR", "CAD"];

/// Languages.
pub const LANGUAGE: [&str; 12] = ["en", "de", "fr", "es", "pt", "it", "nl", "sv", "pl", "tr", "ja", "hi"];

/// Adjectives of things.
pub const ADJECTIVE: [&str; 32] = [
    "annual", "basic", "bright", "calm", "central", "compact", "daily", "deep", "early", "extra", "final", "fresh",
    "global", "green", "initial", "internal", "joint", "light", "local", "major", "monthly", "new", "open", "plain",
    "premium", "public", "quick", "quiet", "solid", "urgent", "warm", "weekly",
];

/// Things.
pub const NOUN: [&str; 48] = [
    "account", "album", "anchor", "basket", "battery", "bicycle", "board", "bottle", "bridge", "budget", "cable",
    "camera", "campaign", "chair", "desk", "engine", "forecast", "garden", "guide", "invoice", "kettle", "keyboard",
    "ladder", "lamp", "letter", "map", "meeting", "mirror", "monitor", "notebook", "order", "package", "pencil",
    "plan", "project", "report", "review", "schedule", "sensor", "service", "shelf", "signal", "survey", "table",
    "ticket", "travel", "window", "workshop",
];

/// Verbs in the past.
pub const VERB: [&str; 16] = [
    "checked",
    "closed",
    "delivered",
    "discussed",
    "finished",
    "moved",
    "ordered",
    "planned",
    "repaired",
    "replaced",
    "reviewed",
    "sent",
    "shipped",
    "signed",
    "tested",
    "updated",
];

/// Jobs.
pub const JOB: [&str; 16] = [
    "Accountant",
    "Analyst",
    "Architect",
    "Buyer",
    "Consultant",
    "Designer",
    "Developer",
    "Director",
    "Engineer",
    "Lawyer",
    "Manager",
    "Nurse",
    "Planner",
    "Researcher",
    "Teacher",
    "Writer",
];

/// States of a thing.
pub const STATUS: [&str; 6] = ["active", "pending", "completed", "draft", "archived", "cancelled"];

/// Roles of people.
pub const ROLE: [&str; 5] = ["member", "admin", "owner", "viewer", "editor"];

/// Plans that people pay for.
pub const PLAN: [&str; 4] = ["free", "starter", "pro", "enterprise"];

/// What kinds there are.
pub const KIND: [&str; 6] = ["standard", "custom", "internal", "external", "premium", "legacy"];

/// How people pay.
pub const PAYMENT: [&str; 5] = ["card", "transfer", "invoice", "cash", "direct debit"];

/// Methods of HTTP.
pub const METHOD: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Priorities.
pub const PRIORITY: [&str; 4] = ["low", "normal", "high", "urgent"];

/// Providers of sign-ins and services.
pub const SERVICE: [&str; 6] = ["google", "github", "email", "apple", "azure", "okta"];

/// Units.
pub const UNIT: [&str; 6] = ["piece", "kg", "m", "hour", "box", "litre"];

/// Colours.
pub const COLOR: [&str; 10] = ["red", "blue", "green", "black", "white", "grey", "orange", "purple", "brown", "yellow"];

/// Kinds of files: ending and media type.
pub const FILE: [(&str, &str); 8] = [
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("csv", "text/csv"),
    ("json", "application/json"),
    ("txt", "text/plain"),
    ("mp4", "video/mp4"),
    ("zip", "application/zip"),
];

/// What browsers say they are.
pub const AGENT: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "curl/8.8.0",
];
