DROP TABLE deployments, pull_requests, repositories;
