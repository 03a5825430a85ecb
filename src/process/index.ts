// What the process room offers to the server.
export { registerDeadLetterRoutes } from './dead-letters/routes.ts';
export { createDeadLetters } from './dead-letters/sink.ts';
export { createProcess } from './process.ts';
export { startRepair } from './repair/repair.ts';
export { registerRepairRoutes } from './repair/routes.ts';
