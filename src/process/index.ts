// What the process room offers to the server.
export { registerDeadLetterRoutes } from './dead-letters/routes.ts';
export { createDeadLetters, type DeadLettersStage } from './dead-letters/sink.ts';
export { createProcess, type ProcessStage, type ProcessStatus } from './process.ts';
